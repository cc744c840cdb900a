"""Data sets: labelled images of any size in a fixed order, of folders, arrays, encoded bytes and torch's data sets."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from zoo.data.images import (
    MAX_PIXELS,
    SUFFIXES,
    decode_image,
    display_name,
    list_folder,
    read_file,
    to_rgb,
    upright_size,
    walk_images,
)
from zoo.errors import InputError, shorten, suggest
from zoo.progress import LONG, progress

CHANNELS = {1: "grey", 3: "RGB", 4: "RGBA"}
"""Valid lengths of the last axis of an array of images."""

_KINDS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".jp2": "JPEG 2000",
    ".webp": "WebP",
}


Stored: TypeAlias = "bytes | np.ndarray[Any, Any] | Image.Image"
"""An image as it is stored: the bytes of an image file, (H, W, C) uint8 with C of `CHANNELS`, or a PIL image."""


@final
@dataclass(frozen=True)
class ImageDataset(Dataset[tuple[Image.Image, int]]):
    """A map-style torch data set of PIL images, upright and RGB, and their labels.

    Example:
        >>> import numpy as np
        >>> from zoo.data import open_arrays
        >>> data = open_arrays(np.zeros((4, 8, 8, 3), np.uint8), [0, 1, 0, 1], ("cat", "dog"))
        >>> data.classes, len(data), data[1]
        (('cat', 'dog'), 4, (<PIL.Image.Image image mode=RGB size=8x8>, 1))

    Attributes:
        stored: number → image; raises `InputError` if it cannot be read.
        names: by number, `class/file`: which image it is, wherever the data lie.
        keys: (n,) int64, numbers of the images.
        labels: (n,) int64.
        classes: names in label order.
        where: file or folder, for messages.
        title: the same for cards, without a path on a user's machine.
        stored_as: image formats, such as JPEG.
        numbered: the classes are named by the numbers of labels that came without names.
        pixels: (N, H, W, C) uint8, of which `stored` gives rows; None for images of other kinds.
        length: number → bytes of its file; None if there are no files.
    """

    stored: Callable[[int], Stored]
    names: Sequence[str]
    keys: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    where: str
    title: str
    stored_as: str
    numbered: bool = False
    pixels: np.ndarray[Any, Any] | None = None
    length: Callable[[int], int] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Image.Image, int]:
        return self.image_and_content(row)[0], int(self.labels[row])

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        return (self[row] for row in range(len(self)))

    def name(self, row: int) -> str:
        """Return `class/file` of an image."""
        return self.names[int(self.keys[row])]

    def image_and_content(self, row: int) -> tuple[Image.Image, bytes]:
        """Return an image, upright and RGB, and what is stored of it; raises `InputError` if it is damaged."""
        stored = self.stored(int(self.keys[row]))
        name = f"{self.where}: {display_name(self.name(row))}"
        if isinstance(stored, bytes):
            return decode_image(stored, name), stored
        if isinstance(stored, np.ndarray):
            return to_rgb(Image.fromarray(stored[..., 0] if stored.shape[-1] == 1 else stored), name), stored.tobytes()
        return to_rgb(stored, name), stored.tobytes()

    def size(self, row: int) -> tuple[int, int]:
        """Return (width, height) of an image, of a file from its header; raises `InputError` if that is damaged."""
        if self.pixels is not None:
            return self.pixels.shape[2], self.pixels.shape[1]
        stored = self.stored(int(self.keys[row]))
        return upright_size(stored, self.name(row)) if isinstance(stored, bytes) else self[row][0].size

    def select(self, rows: Tensor, part: str = "") -> ImageDataset:
        """Return those rows alone; `part` says in messages which part of the data they are."""
        where, title = (f"{text}, {part}" if part else text for text in (self.where, self.title))
        return replace(self, keys=self.keys[rows], labels=self.labels[rows], where=where, title=title)

    def relabel(self, classes: Sequence[str], owner: str) -> ImageDataset:
        """Return the same images with the label order of `classes`.

        Labels without names are matched by number if `classes` have other names than numbers.

        Raises:
            InputError: a class of the data is not among `classes`, which are those of `owner`.
        """
        wanted = {name: label for label, name in enumerate(classes)}
        title = self.title
        if self.numbered and not wanted.keys() & set(self.classes):
            wanted = {str(label): label for label in range(len(classes))}
            title = f"{title}, labels by number"
        unknown = [name for name in self.classes if name not in wanted]
        if unknown:
            hint = suggest(unknown[0], wanted) if len(wanted) <= 20 else ""
            raise InputError(
                f"{self.where} has {len(unknown)} of its {len(self.classes)} classes that {owner} lacks: "
                f"{name_some(unknown)}{hint}"
            )
        table = torch.tensor([wanted[name] for name in self.classes], dtype=torch.int64)
        return replace(self, labels=table[self.labels], classes=tuple(classes), title=title, numbered=False)

    def fingerprint(self, size: tuple[int, int], contents: bytes = b"") -> str:
        """Return a hash of classes, names, labels, stored lengths, the size images are brought to, and `contents`.

        Args:
            size: (height, width).
            contents: a hash of the stored bytes; empty if they are too many to be read through.
        """
        digest = hashlib.sha256(repr((self.classes, size)).encode())
        for key, label in zip(self.keys.tolist(), self.labels.tolist(), strict=True):
            length = self.length(key) if self.length is not None else ""
            digest.update(f"{self.names[key]}\0{label}\0{length}\n".encode(errors="backslashreplace"))
        digest.update(contents)
        return digest.hexdigest()[:32]

    def check_classes(self) -> None:
        """Raise `InputError` if there are fewer than two classes, or a class without an image."""
        if len(self.classes) < 2:
            only = f" ({name_some(self.classes)})" if self.classes else ""
            raise InputError(f"{self.where} has {len(self.classes)} class{only}; at least two are needed")
        counts = torch.bincount(self.labels, minlength=len(self.classes))
        empty = [name for name, count in zip(self.classes, counts.tolist(), strict=True) if not count]
        if empty:
            raise InputError(f"{self.where} has no images of {name_some(empty)}")

    def divide(self, seed: int) -> tuple[ImageDataset, ImageDataset]:
        """Divide into 80 % and 20 % of every class, at least one image each.

        The hash of `seed` and an image's name decides, no random generator: the parts are the same on all machines and
        with all versions of all libraries, and a new image moves no other.

        Raises:
            InputError: a class has a single image.
        """
        held: set[int] = set()
        single: list[str] = []
        for label, name in enumerate(self.classes):
            rows = (self.labels == label).nonzero().flatten().tolist()
            if len(rows) == 1:
                single.append(name)
            rows.sort(key=lambda row: _rank(seed, self.name(row)))
            held.update(rows[: max(1, round(len(rows) / 5))])
        if single:
            raise InputError(
                f"{self.where} is divided 80/20, and has one image of {name_some(single)}; at least two are needed"
            )
        kept = torch.tensor([row not in held for row in range(len(self))])
        part = f"of each class, seed {seed}"
        return (
            self.select(kept.nonzero().flatten(), f"80 % {part}"),
            self.select((~kept).nonzero().flatten(), f"20 % {part}"),
        )


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()


def name_some(names: Sequence[str], most: int = 5) -> str:
    """Return the first few names, quoted, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shorten(name) for name in names[:most]) + more


def title_of(path: Path) -> str:
    """Return the last two names of a path."""
    return display_name("/".join(path.absolute().parts[1:][-2:]))


# Folders --------------------------------------------------------------------------------------------------------------


def open_folder(folder: Path) -> ImageDataset:
    """Open a folder of class folders, with images at any depth in these; sorted, without hidden ones.

    Links are followed, but not back to a folder that they lie in.

    Raises:
        InputError: there is no class folder, one is empty, or one cannot be listed.
    """
    where = display_name(folder)
    classes = subfolders(folder)
    if not classes:
        there = "holds images, but no class folders" if holds_images(folder) else "holds no class folders and no images"
        raise InputError(f"{where} {there}; each class's images must lie in a folder of its name")
    images = {name: sorted(walk_images(folder / name, links=True, prefix=f"{name}/")) for name in classes}
    empty = [name for name in classes if not images[name]]
    if empty:
        which = f"any of its {len(classes)} class folders" if len(empty) == len(classes) else name_some(empty)
        raise InputError(
            f"{where} holds no images of {which}; fill or remove these folders; names of images end with one of "
            f"{', '.join(SUFFIXES)}"
        )
    return open_files(folder, images, title_of(folder))


def open_files(folder: Path, images: Mapping[str, Sequence[str]], title: str) -> ImageDataset:
    """Open the files that are given for each class, as paths below `folder`."""
    names = [name for files in images.values() for name in files]
    counts = torch.tensor([len(files) for files in images.values()])

    def length(key: int) -> int:
        try:
            return (folder / names[key]).stat().st_size
        except OSError:  # a broken link: reading it tells
            return 0

    suffixes = {os.path.splitext(name)[1].lower() for name in names}
    return ImageDataset(
        stored=lambda key: read_file(folder / names[key]),
        names=names,
        keys=torch.arange(len(names)),
        labels=torch.repeat_interleave(torch.arange(len(images)), counts),
        classes=tuple(images),
        where=display_name(folder),
        title=title,
        stored_as=" and ".join(sorted({_KINDS.get(suffix, suffix[1:].upper()) for suffix in suffixes})),
        length=length,
    )


def subfolders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, without hidden ones; links count."""
    return sorted(entry.name for entry in list_folder(folder) if os.path.isdir(entry.path))


def holds_images(folder: Path) -> bool:
    """Return whether image files lie in the folder itself."""
    return any(
        os.path.splitext(entry.name)[1].lower() in SUFFIXES and not os.path.isdir(entry.path)
        for entry in list_folder(folder)
    )


# Arrays ---------------------------------------------------------------------------------------------------------------


def open_arrays(
    images: np.ndarray[Any, Any],
    labels: Any,
    classes: Iterable[Any] | None = None,
    names: Sequence[str] | None = None,
    where: str = "the arrays",
    title: str = "arrays",
) -> ImageDataset:
    """Open arrays.

    Args:
        images: (N, H, W, C) uint8, C of `CHANNELS`.
        labels: (N,) integers from 0 on.
        classes: names in label order; without them the numbers of labels name the classes.
        names: `class/file` of each image; by default its number in its class.
        where: for messages.
        title: for cards.

    Raises:
        InputError: these do not fit together.
    """
    if not isinstance(images, np.ndarray):
        raise InputError(f"{where}: images is a {type(images).__name__}; valid: a numpy array (N, H, W, C) of uint8")
    _check_shape(images.dtype, images.shape, where)
    listed = label_images(images.__getitem__, len(images), labels, classes, names, where, title, "pixels")
    return replace(listed, pixels=images)


def label_images(
    stored: Callable[[int], Stored],
    count: int,
    labels: Any,
    classes: Iterable[Any] | None,
    names: Sequence[str] | None,
    where: str,
    title: str,
    stored_as: str,
) -> ImageDataset:
    """Return `count` stored images with their labels; other arguments and errors are those of `open_arrays`."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{where}: labels is {labels.dtype} of shape {labels.shape}; valid: one row of integers")
    if len(labels) != count:
        raise InputError(f"{where}: {len(labels)} labels must go with {count} images; valid: one for each")
    known = None if classes is None else tuple(map(str, classes))
    if known is not None and len(set(known)) != len(known):
        raise InputError(f"{where}: classes must be one row of names, each once")
    if len(labels) and labels.min() < 0:
        raise InputError(f"{where}: labels go down to {labels.min()}; valid: 0 and more; leave out what has no label")
    if len(labels) and known is not None and labels.max() >= len(known):
        raise InputError(f"{where}: labels go up to {labels.max()}; valid: 0 to {len(known) - 1}, as classes are named")
    if names is None:
        names = number_names(labels, known)
    if known is None:
        numbers, labels = np.unique(labels, return_inverse=True)
    return ImageDataset(
        stored=stored,
        names=names,
        keys=torch.arange(len(labels)),
        labels=torch.from_numpy(labels.astype(np.int64)),
        classes=tuple(map(str, numbers.tolist())) if known is None else known,
        where=where,
        title=title,
        stored_as=stored_as,
        numbered=known is None,
    )


def number_names(labels: np.ndarray[Any, Any], classes: Sequence[str] | None) -> list[str]:
    """Name images `class/00000.jpg`, by their number in the class.

    A folder whose files are numbered so is divided into the same parts.
    """
    counts: dict[int, int] = {}
    names = []
    for label in labels.tolist():
        number = counts.get(label, 0)
        counts[label] = number + 1
        names.append(f"{classes[label] if classes is not None else label}/{number:05d}.jpg")
    return names


def _check_shape(dtype: np.dtype[Any], shape: tuple[int, ...], where: str) -> None:
    if dtype != np.uint8:
        scaled = "; levels from 0 to 1 become bytes by (255 * images).round()" if dtype.kind == "f" else ""
        raise InputError(f"{where}: images is {dtype}; valid: uint8{scaled}")
    if len(shape) != 4:
        grey = "; grey images are images[..., None]" if len(shape) == 3 else ""
        raise InputError(f"{where}: images has the shape {shape}; valid: (N, H, W, C){grey}")
    if shape[3] not in CHANNELS:
        kinds = ", ".join(f"{channels} ({kind})" for channels, kind in CHANNELS.items())
        first = "; channels that come first go last by images.transpose(0, 2, 3, 1)" if shape[1] in CHANNELS else ""
        raise InputError(f"{where}: images has the shape {shape}, and so {shape[3]} channels; valid: {kinds}{first}")
    if not 1 <= shape[1] * shape[2] <= MAX_PIXELS:
        raise InputError(f"{where}: images of {shape[2]}×{shape[1]} pixels; valid: 1 to {MAX_PIXELS:,} pixels")


# Data of a Python program ---------------------------------------------------------------------------------------------

Arrays: TypeAlias = tuple[Any, Any]
"""(N, H, W, C) uint8 and (N,) integers, as numpy arrays; or these and the names of the classes, in label order."""

InHand: TypeAlias = "Arrays | Dataset[Any] | Mapping[str, Arrays | Dataset[Any]]"
"""What `open_in_hand` takes; a mapping has it for `train` and for `val`."""


def open_in_hand(data: object) -> dict[str, ImageDataset]:
    """Open arrays, a map-style torch data set of images and labels, or a mapping of `train` and `val` to such.

    A data set is read through once for labels and sizes. Items must be the same whenever they are read: flips and the
    like are the recipe's. An attribute `classes`, as torchvision's have, names its classes.

    Returns:
        Data sets by split; '' for what is not divided.

    Raises:
        InputError: it is none of these, or holds something else than images and labels.
    """
    given = data if isinstance(data, Mapping) else {"": data}
    return {str(split): _open_one(part, f" {split}" if split else "") for split, part in given.items()}


def _open_one(data: object, split: str) -> ImageDataset:
    if isinstance(data, ImageDataset):
        return data
    if isinstance(data, tuple | list) and len(data) in (2, 3):
        return open_arrays(data[0], data[1], data[2] if len(data) == 3 else None, where=f"the{split} arrays")
    if isinstance(data, IterableDataset):
        raise InputError(
            f"{type(data).__name__} is an IterableDataset, whose order is not known before it is read; valid: a "
            "map-style Dataset with __getitem__ and __len__, or arrays (images, labels)"
        )
    if isinstance(data, Dataset):
        return _open_dataset(data, f"the{split} {type(data).__name__}")
    raise InputError(
        f"data are a {type(data).__name__}; valid: a path, a name, DataSplits, arrays (images, labels), a map-style "
        "torch Dataset, or a mapping of train and val to such arrays or data sets"
    )


def _open_dataset(dataset: Dataset[Any], where: str) -> ImageDataset:
    length, lock = len(dataset), Lock()  # type: ignore[arg-type]

    def item(key: int) -> tuple[Stored, int]:
        name = f"item {key} of {where}"
        try:
            with lock:  # it may not bear threads
                image, label = dataset[key]
            return _to_stored(image), int(label.item() if isinstance(label, Tensor) else label.__index__())
        except Exception as error:  # of code that is not ours
            raise InputError(
                f"{name} is not a pair of image and label: {type(error).__name__}: {error}; valid: a PIL image, an "
                "array (H, W, C) or a tensor (C, H, W) of uint8, C of 1, 3 or 4, and an integer"
            ) from error

    labels = []
    with progress(f"reading {where}", length, visible=length >= LONG) as advance:
        for key in range(length):
            labels.append(item(key)[1])
            advance(1)
    classes = getattr(dataset, "classes", None)  # torchvision's name for them; data sets need not have any
    title = f"{type(dataset).__name__} of Python"
    listed = label_images(lambda key: item(key)[0], length, labels, classes, None, where, title, "pixels")
    if length and listed.image_and_content(0)[1] != listed.image_and_content(0)[1]:
        raise InputError(
            f"item 0 of {where} is another image on the second reading; take what it draws at random out of its "
            "transform: the recipe flips and shifts"
        )
    return listed


def _to_stored(value: Any) -> Stored:
    if isinstance(value, Image.Image):
        return value
    pixels = (
        value.permute(1, 2, 0).cpu().numpy() if isinstance(value, Tensor) and value.dim() == 3 else np.asarray(value)
    )
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] not in CHANNELS:
        raise ValueError(f"an image of {pixels.dtype} and shape {pixels.shape}")
    return np.ascontiguousarray(pixels)
