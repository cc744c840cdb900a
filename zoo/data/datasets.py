"""Data sets: labelled images of any size in a fixed order, of folders, arrays, .npz files and torch's data sets."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias, cast, final

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from zoo.data.images import (
    CHANNELS,
    MAX_PLANES,
    SUFFIXES,
    Levels,
    Stored,
    display_name,
    from_levels,
    read_file,
    reading,
    stored_size,
    subfolders,
    to_rgb,
    walk_images,
)
from zoo.errors import InputError, shorten, suggest

SPLIT_SEED = 3407
"""Seed of the division 80/20."""

WHOLE = "all"
"""Name of data that are not divided."""

RGB = (3,)
"""Axes of an image in front of height and width."""


Stamp: TypeAlias = "tuple[int, int]"
"""Bytes of files, and the time of their last change in nanoseconds."""


def stamp_files(files: Iterable[Path]) -> Stamp:
    """Return the bytes of all files and the time of their last change; files that are not there count as empty."""
    found = [file.stat() for file in files if file.exists()]
    return sum(each.st_size for each in found), max((each.st_mtime_ns for each in found), default=0)


@final
@dataclass(frozen=True)
class ImageDataset(Dataset[tuple[Image.Image | Levels, int]]):
    """A map-style torch data set of PIL images, upright and RGB, and their labels.

    Example:
        >>> import numpy as np
        >>> from zoo.data import open_arrays
        >>> data = open_arrays(np.zeros((4, 8, 8, 3), np.uint8), [0, 1, 0, 1], ("cat", "dog"))
        >>> data.classes, len(data), data[1]
        (('cat', 'dog'), 4, (<PIL.Image.Image image mode=RGB size=8x8>, 1))

    Attributes:
        stored: row → bytes of an image file, levels (H, W, C), or a PIL image; raises `InputError` if it is unreadable.
        names: `class/file` of every image; the same in any folder. Errors call images by them.
        labels: (n,) int64.
        classes: names in label order.
        where: file or folder, for messages.
        axes: of an item, in front of height and width: (3,) for images. Other axes, such as (T, C) of frames, are
            those of `stored` itself: uint8 levels (T, C, H, W).
        mirrored: row → what `stored` would give for the mirrored image; None if that is the item itself, mirrored.
        stamp: row → what tells that an image was replaced under its own name; None if the images are in memory.
    """

    stored: Callable[[int], Stored]
    names: Sequence[str]
    labels: Tensor
    classes: tuple[str, ...]
    where: str
    axes: tuple[int, ...] = RGB
    mirrored: Callable[[int], Stored] | None = None
    stamp: Callable[[int], Stamp | bytes] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Image.Image | Levels, int]:
        """Return an image, or frames, and its label; raises `InputError` if it is damaged."""
        return self.item(row), int(self.labels[row])

    def item(self, row: int) -> Image.Image | Levels:
        """Return an image, upright and RGB, or levels (*axes, H, W); raises `InputError` if it is damaged."""
        stored, name = self.stored(row), display_name(self.names[row])
        if self.axes == RGB:
            return to_rgb(stored, name)
        if isinstance(stored, np.ndarray) and stored.shape[:-2] == self.axes and stored.dtype == np.uint8:
            return stored
        kind = f"{stored.dtype} of shape {stored.shape}" if isinstance(stored, np.ndarray) else type(stored).__name__
        raise InputError(f"{name} is {kind}; valid: uint8 levels of shape {self.axes} by height by width")

    def sides(self, row: int) -> tuple[int, int]:
        """Return both sides of an image, turned or not; raises `InputError` if it is damaged."""
        if self.axes == RGB:
            return stored_size(self.stored(row), self.names[row])
        height, width = cast(Levels, self.item(row)).shape[-2:]
        return width, height

    def identify(self, row: int) -> Stamp | bytes:
        """Return the stamp of an image's file, or the image itself if it is in memory."""
        if self.stamp is not None:
            return self.stamp(row)
        stored = self.stored(row)
        return stored if isinstance(stored, bytes) else stored.tobytes()

    def __iter__(self) -> Iterator[tuple[Image.Image | Levels, int]]:
        return (self[row] for row in range(len(self)))

    def select(self, rows: Tensor, part: str = "") -> ImageDataset:
        """Return those rows alone; `part` names them in messages."""
        chosen, mirrored = rows.tolist(), self.mirrored
        return replace(
            self,
            stored=lambda row: self.stored(chosen[row]),
            mirrored=None if mirrored is None else lambda row: mirrored(chosen[row]),
            stamp=lambda row: self.identify(chosen[row]),
            names=[self.names[row] for row in chosen],
            labels=self.labels[rows],
            where=f"{self.where}, {part}" if part else self.where,
        )

    def transformed(
        self, change: Callable[[Image.Image | Levels], Levels], axes: tuple[int, ...], where: str
    ) -> ImageDataset:
        """Return `change(item)` of every item; a mirrored one is made of the mirrored image, before the change."""
        return replace(
            self,
            stored=lambda row: change(self.item(row)),
            mirrored=lambda row: change(self._mirrored_item(row)),
            axes=axes,
            where=where,
        )

    def _mirrored_item(self, row: int) -> Image.Image | Levels:
        if self.mirrored is not None:
            return replace(self, stored=self.mirrored).item(row)
        item = self.item(row)
        return ImageOps.mirror(item) if isinstance(item, Image.Image) else item[..., ::-1]

    def relabel(self, classes: Sequence[str], owner: str) -> ImageDataset:
        """Return the same images with the label order of `classes`; classes named 0 … n − 1 count as its numbers.

        Raises `InputError` if a class of the data is not among `classes`, which are those of `owner`.
        """
        numbers = {str(label) for label in range(len(classes))}
        numbered = {*self.classes} == numbers and numbers != {*classes}
        wanted = {str(label) if numbered else name: label for label, name in enumerate(classes)}
        where = f"{self.where}, labels by number" if numbered else self.where
        unknown = [name for name in self.classes if name not in wanted]
        if unknown:
            nearest = suggest(unknown[0], wanted) if len(wanted) <= 20 else ""
            if all(map(str.isdecimal, unknown)):
                nearest = f"; name the classes: numbers count as labels only if they are 0 to {len(classes) - 1}"
            problem = f"{self.where} has {len(unknown)} classes that {owner} lacks"
            raise InputError(f"{problem}: {name_some(unknown)}{nearest}")
        table = torch.tensor([wanted[name] for name in self.classes], dtype=torch.int64)
        return replace(self, labels=table[self.labels], classes=tuple(classes), where=where)

    def check_classes(self) -> None:
        """Raise `InputError` if there are fewer than two classes, or a class without an image."""
        counts = torch.bincount(self.labels, minlength=len(self.classes)).tolist()
        if len(counts) < 2 or 0 in counts:
            empty = [name for name, count in zip(self.classes, counts, strict=True) if not count]
            without = f", and no sound images of {name_some(empty)}" if empty else ""
            valid = "valid: two or more, each with an image; files must lie in a folder of the class's name"
            raise InputError(f"{self.where} has {len(counts)} classes{without}; {valid}")

    def divide(self) -> tuple[ImageDataset, ImageDataset]:
        """Divide into 80 % and 20 % of every class, at least one image each; raises `InputError` for a single image.

        The hash of the seed and an image's name decides: the parts are the same on all machines and with all versions
        of all libraries, and a new image moves no other.
        """
        held: set[int] = set()
        for label, name in enumerate(self.classes):
            rows = (self.labels == label).nonzero().flatten().tolist()
            if len(rows) == 1:
                raise InputError(f"{self.where} is divided 80/20, and has one image of {shorten(name)}; add another")
            rows.sort(key=self._rank)
            held.update(rows[: max(1, round(len(rows) / 5))])
        part = f"of each class, seed {SPLIT_SEED}"
        kept = [row for row in range(len(self)) if row not in held]
        return self.select(torch.tensor(kept), f"80 % {part}"), self.select(torch.tensor(sorted(held)), f"20 % {part}")

    def _rank(self, row: int) -> bytes:
        return hashlib.sha256(f"{SPLIT_SEED}/{self.names[row]}".encode(errors="backslashreplace")).digest()


def name_some(names: Sequence[str], most: int = 5) -> str:
    """Return the first few names, quoted, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shorten(name) for name in names[:most]) + more


def open_folder(folder: Path) -> ImageDataset:
    """Open a folder of class folders, with images at any depth in these, sorted; raises `InputError` without any.

    Links are followed; hidden files and folders are left out.
    """
    images = {name: [f"{name}/{file}" for file in walk_images(folder / name)] for name in subfolders(folder)}
    if not any(images.values()):
        where = display_name(folder)
        raise InputError(f"{where} holds no class folders with images; their names end with {', '.join(SUFFIXES)}")
    return open_files(folder, images)


def open_files(folder: Path, images: Mapping[str, Sequence[str]]) -> ImageDataset:
    """Open the files that are given for each class, as paths below `folder`."""
    names = [name for files in images.values() for name in files]
    counts = torch.tensor([len(files) for files in images.values()])
    return ImageDataset(
        stored=lambda row: read_file(folder / names[row], display_name(names[row])),
        names=names,
        labels=torch.repeat_interleave(torch.arange(len(images)), counts),
        classes=tuple(images),
        where=display_name(folder),
        stamp=lambda row: stamp_files([folder / names[row]]),
    )


def open_arrays(
    images: np.ndarray[Any, Any],
    labels: Any,
    classes: Iterable[Any] | None = None,
    names: Sequence[str] | None = None,
    where: str = "the arrays",
) -> ImageDataset:
    """Open arrays.

    Args:
        images: (N, H, W, C) uint8, C of 1 (grey), 3 (RGB) or 4 (RGBA).
        labels: (N,) integers from 0 on.
        classes: names in label order; without them the numbers of labels name the classes.
        names: `class/file` of each image; by default its number in its class.
        where: for messages.

    Raises:
        InputError: these do not fit together.
    """
    shape: tuple[int, ...] = getattr(images, "shape", ())
    kind = getattr(images, "dtype", type(images).__name__)
    if kind != np.uint8 or len(shape) != 4 or shape[3] not in CHANNELS or 0 in shape[1:]:
        raise InputError(f"{where}: images is {kind} of shape {shape}; valid: uint8 (N, H, W, C), C of 1, 3 or 4")
    return label_images(lambda row: images[row], len(images), labels, classes, names, where)


def open_frames(
    frames: np.ndarray[Any, Any],
    labels: object,
    classes: Iterable[object] | None = None,
    names: Sequence[str] | None = None,
    where: str = "the frames",
) -> ImageDataset:
    """Open frames (N, T, C, H, W) uint8, or their sums (N, C, H, W); all else as for `open_arrays`."""
    shape: tuple[int, ...] = getattr(frames, "shape", ())
    kind = getattr(frames, "dtype", type(frames).__name__)
    if kind != np.uint8 or len(shape) not in (4, 5) or shape[-3] > MAX_PLANES or 0 in shape[1:]:
        problem = f"{where}: frames is {kind} of shape {shape}"
        raise InputError(f"{problem}; valid: uint8 (N, T, C, H, W), C up to {MAX_PLANES}")
    data = label_images(lambda row: frames[row], len(frames), labels, classes, names, where)
    return replace(data, axes=shape[1:-2])


def label_images(
    stored: Callable[[int], Stored],
    images: int,
    labels: Any,
    classes: Iterable[Any] | None,
    names: Sequence[str] | None,
    where: str,
) -> ImageDataset:
    """Return stored images with their labels; see `open_arrays`."""
    labels, known = np.asarray(labels), None if classes is None else tuple(map(str, classes))
    if labels.shape != (images,) or labels.dtype.kind not in "iu" or (images and labels.min() < 0):
        kind = f"{labels.dtype} of shape {labels.shape}"
        raise InputError(f"{where}: labels is {kind}; valid: {images} integers in a row, from 0 on")
    if known is None:
        numbers, labels = np.unique(labels, return_inverse=True)
        known = tuple(map(str, numbers.tolist()))
    if len(set(known)) != len(known) or (images and labels.max() >= len(known)):
        raise InputError(f"{where}: classes must be one row of names, each once, and one for every label")
    if names is None:  # by their number in the class: files that are named so are divided alike
        counts: defaultdict[int, count[int]] = defaultdict(count)
        names = [f"{known[label]}/{next(counts[label]):05d}.jpg" for label in labels.tolist()]
    return ImageDataset(stored, names, torch.from_numpy(labels.astype(np.int64)), known, where)


Array = np.ndarray[Any, Any]
_ARRAYS = ("images", "frames", "jpeg", "offsets", "labels", "classes", "names", "split")


def open_packed(path: Path, otherwise: str) -> dict[str, ImageDataset]:
    """Open the splits of an .npz by their names; of one without an array `split`, all images as `otherwise`.

    The file holds `images` (N, H, W, C) uint8, `frames` (N, T, C, H, W) uint8, or `jpeg` (bytes of image files) and
    `offsets` (N + 1); `labels` (N,); and maybe `classes`, `names` (N,) and `split` (N,). Raises `InputError` if it is
    damaged, or they do not fit.
    """
    where = display_name(path)
    with reading(where, "it must be an .npz with the arrays images, or jpeg and offsets, and labels"):
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS if name in file.files}
        classes, names = (arrays[name].tolist() if name in arrays else None for name in ("classes", "names"))
        if "jpeg" in arrays:
            stored, count = _encoded(arrays["jpeg"], arrays["offsets"], where)
            whole = label_images(stored, count, arrays["labels"], classes, names, where)
        elif "frames" in arrays:
            whole = open_frames(arrays["frames"], arrays["labels"], classes, names, where)
        else:
            whole = open_arrays(arrays["images"], arrays["labels"], classes, names, where)
        for name in arrays.keys() & {"names", "split"}:
            if arrays[name].shape != (len(whole),) or arrays[name].dtype.kind != "U":
                raise InputError(f"{where}: {name} must be a text for each image")
        if "split" not in arrays:
            return {otherwise: whole}
        splits = arrays["split"]
        rows = {split: torch.from_numpy((splits == split).nonzero()[0]) for split in dict.fromkeys(splits.tolist())}
        return {split: whole.select(rows[split], f"the {split} part") for split in rows}


def _encoded(data: Array, offsets: Array, where: str) -> tuple[Callable[[int], bytes], int]:
    """Return the function from a row to an image's bytes, and the number of images."""
    rising = offsets.dtype.kind in "iu" and offsets[0] == 0 and not (offsets[1:] < offsets[:-1]).any()
    if data.dtype != np.uint8 or data.shape != (offsets[-1],) or not rising:
        raise InputError(f"{where}: offsets must be integers that rise from 0 to the bytes of jpeg; the file is cut")
    bounds = offsets.astype(np.int64)
    return lambda row: data[bounds[row] : bounds[row + 1]].tobytes(), len(offsets) - 1


Arrays: TypeAlias = "tuple[Any, Any] | tuple[Any, Any, Sequence[str]]"
"""(N, H, W, C) uint8 and (N,) integers, as numpy arrays; or these and the names of the classes, in label order."""

InMemory: TypeAlias = "Arrays | Dataset[Any] | Mapping[str, Arrays | Dataset[Any]]"
"""Data of a Python program; a mapping has them for `train` and for `val`."""


def open_in_memory(data: object) -> dict[str, ImageDataset]:
    """Open arrays, a map-style torch data set, or a mapping of `train` and `val` to such; raises `InputError`.

    A data set is read through once for its labels. An attribute `classes`, as torchvision's have, names its classes.
    """
    if isinstance(data, Mapping):
        return {str(split): _open_one(part, f"the {split}") for split, part in data.items()}
    return {WHOLE: _open_one(data, "the")}


def _open_one(data: object, which: str) -> ImageDataset:
    if isinstance(data, ImageDataset):
        return data
    if isinstance(data, tuple | list) and len(data) in (2, 3):
        return open_arrays(data[0], data[1], data[2] if len(data) == 3 else None, where=f"{which} arrays")
    if isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        return _open_dataset(data, f"{which} {type(data).__name__}")
    kind = type(data).__name__
    raise InputError(f"data are a {kind}; valid: a path, a name, arrays, a map-style torch Dataset, a mapping of these")


def _open_dataset(dataset: Dataset[Any], where: str) -> ImageDataset:
    length, lock = len(dataset), Lock()  # type: ignore[arg-type]

    def item(key: int) -> tuple[Image.Image, Any]:
        with lock:  # it may not bear threads
            image, label = dataset[key]
        if isinstance(image, Tensor):
            image = image.cpu().numpy().transpose(1, 2, 0) if image.dim() == 3 else image.cpu().numpy()
        return image if isinstance(image, Image.Image) else from_levels(image, f"item {key} of {where}"), label

    labels = [item(key)[1] for key in range(length)]
    classes = getattr(dataset, "classes", None)  # torchvision's name for them; data sets need not have any
    return label_images(lambda key: item(key)[0], length, labels, classes, None, where)
