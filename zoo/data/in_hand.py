"""Data that a Python program has in memory: arrays, and map-style torch data sets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeAlias, final

import numpy as np
import torch
from PIL import Image
from rich.markup import escape
from torch.utils.data import Dataset, IterableDataset

from zoo.data.fingerprints import hash_buffer
from zoo.data.image_list import ImageStore, Listing
from zoo.data.images import upright_rgb
from zoo.data.packed import WHOLE
from zoo.data.pixels import CHANNELS, PixelStore, check_labels, check_shape, image_of, list_pixels, number_names
from zoo.data.progress import progress_bar
from zoo.errors import InputError

Arrays: TypeAlias = tuple[Any, Any]
"""(N, H, W, C) uint8 and (N,) integers, as numpy arrays; or these and the names of the classes, in label order."""

InHand: TypeAlias = "Arrays | Dataset[Any] | Mapping[str, Arrays | Dataset[Any]]"
"""What `in_hand` takes; a mapping has it for `train` and for `val`."""

_READ_TWICE = 8
"""Items of a data set that are read twice, to see whether they are the same."""


@final
@dataclass(frozen=True)
class ImagesInHand:
    """Images of a Python program, listed.

    Attributes:
        parts: by split; what is not divided is `WHOLE`.
        identity: what run.json calls them: their kind, and a hash of their bytes and labels.
    """

    parts: Mapping[str, Listing]
    identity: str


def in_hand(data: InHand) -> ImagesInHand:
    """List the data.

    Of arrays the fingerprint of the run covers all bytes and labels. A data set is read through once for its labels
    and a hash of every item's pixels, which the fingerprint covers, and again when it is trained on; what it would
    give at another time is not covered, so that its items must be the same whenever they are read: flips and the like
    are the recipe's. Where it has an attribute `classes`, as torchvision's have, these are the names of its classes.

    Raises:
        InputError: it is none of these, or holds something else than images and labels.
    """
    given = data if isinstance(data, Mapping) else {WHOLE: data}
    parts = {str(split): _list(images, f" {split}" if split else "") for split, images in given.items()}
    content = hashlib.sha256()
    for split, listing in parts.items():
        content.update(repr((split, listing.fingerprint((0, 0)))).encode())
        for key in listing.keys.tolist():
            content.update(listing.store.digest(key))
    kinds = " and ".join(sorted({listing.title for listing in parts.values()}))
    return ImagesInHand(parts, f"{kinds}, {content.hexdigest()[:16]}")


def _list(data: object, split: str) -> Listing:
    if isinstance(data, tuple | list) and len(data) in (2, 3):
        return _list_arrays(data, f"the{split} arrays")
    if isinstance(data, IterableDataset):
        raise InputError(
            f"{type(data).__name__} is an IterableDataset, whose order nobody knows before it is read; valid: a "
            "map-style Dataset with __getitem__ and __len__, or arrays (images, labels)"
        )
    if isinstance(data, Dataset):
        return _list_dataset(data, f"the{split} {type(data).__name__}")
    raise InputError(
        f"data are a {type(data).__name__}; valid: a path, a name, DataSplits, arrays (images, labels), a map-style "
        "torch Dataset, or a mapping of train and val to such arrays or data sets"
    )


def _list_arrays(data: Sequence[Any], where: str) -> Listing:
    images, labels = data[0], np.asarray(data[1])
    if not isinstance(images, np.ndarray):
        raise InputError(f"{where}: images is a {type(images).__name__}; valid: a numpy array (N, H, W, C) of uint8")
    check_shape(images.dtype, images.shape, where)
    if len(labels) != len(images):
        raise InputError(f"{where}: {len(labels)} labels must go with {len(images)} images; valid: one for each")
    classes = _names(data[2], where) if len(data) == 3 else None
    check_labels(labels, classes, where)
    store = PixelStore(images, number_names(labels, classes))
    return list_pixels(store, labels, classes, where=where, title="arrays")


def _names(classes: Any, where: str) -> tuple[str, ...]:
    names = tuple(map(str, classes))
    if len(set(names)) != len(names):
        raise InputError(f"{where}: classes must be names, each once")
    return names


@final
class DatasetStore(ImageStore):
    """The items of a map-style data set, read one at a time, since it may not bear threads.

    Args:
        dataset: with items of an image and a label.
        where: for messages.
    """

    def __init__(self, dataset: Dataset[Any], where: str) -> None:
        self._dataset, self._where, self._lock = dataset, where, Lock()
        self._sizes: list[tuple[int, int]] = []
        self._digests: list[bytes] = []
        self._names: list[str] = []

    def read_through(self) -> np.ndarray[Any, Any]:
        """The labels of all items, (n,); sizes and digests are kept."""
        length = len(self._dataset)  # type: ignore[arg-type]
        labels = []
        with progress_bar(length) as bar:
            task = bar.add_task(f"reading {escape(self._where)}", total=length)
            for key in range(length):
                image, label = self._read(key)
                self._sizes.append(image.size)
                self._digests.append(_digest(image))
                labels.append(label)
                bar.update(task, completed=key + 1)
        for key in range(min(length, _READ_TWICE)):
            self.image(key)
        return np.array(labels, np.int64)

    def name_items(self, names: list[str]) -> None:
        """What the items are called, once their labels are known."""
        self._names = names

    def name(self, key: int) -> str:
        return self._names[key]

    def image(self, key: int) -> Image.Image:
        image, _ = self._read(key)
        if _digest(image) != self._digests[key]:
            raise InputError(
                f"item {key} of {self._where} is another image on the second reading; take what it draws at random "
                "out of its transform: the recipe flips and shifts"
            )
        return image

    def upright_size(self, key: int) -> tuple[int, int]:
        return self._sizes[key]

    def stored_bytes(self, key: int) -> int:
        width, height = self._sizes[key]
        return 3 * width * height

    def digest(self, key: int) -> bytes:
        return self._digests[key]

    def _read(self, key: int) -> tuple[Image.Image, int]:
        name = f"item {key} of {self._where}"
        try:
            with self._lock:
                item = self._dataset[key]
        except Exception as error:  # somebody else's code
            raise InputError(f"{name} cannot be read: {type(error).__name__}: {error}") from error
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise InputError(f"{name} is a {type(item).__name__}; valid: a pair of image and label")
        return _to_image(item[0], name), _to_label(item[1], name)


def _list_dataset(dataset: Dataset[Any], where: str) -> Listing:
    names = getattr(dataset, "classes", None)  # torchvision's name for them; data sets need not have any
    classes = None if names is None else _names(names, where)
    store = DatasetStore(dataset, where)
    labels = store.read_through()
    check_labels(labels, classes, where)
    store.name_items(number_names(labels, classes))
    return list_pixels(store, labels, classes, where=where, title=f"{type(dataset).__name__} of Python")


def _to_image(value: object, name: str) -> Image.Image:
    """A PIL image, or an array (H, W, C) or tensor (C, H, W) of bytes, maybe without C, as RGB."""
    if isinstance(value, Image.Image):
        return upright_rgb(value, name)
    if isinstance(value, torch.Tensor):
        value = (value.permute(1, 2, 0) if value.dim() == 3 else value).cpu().numpy()
    if not isinstance(value, np.ndarray):
        raise InputError(f"{name} has a {type(value).__name__} for an image; valid: a PIL image, or uint8 values")
    pixels = value[..., None] if value.ndim == 2 else value
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] not in CHANNELS:
        raise InputError(
            f"{name} has an image of {value.dtype} and shape {value.shape}; valid: uint8, an array (H, W, C) or a "
            "tensor (C, H, W), C of 1, 3 or 4; take ToTensor and Normalize out of its transform"
        )
    return image_of(np.ascontiguousarray(pixels), name)


def _to_label(value: object, name: str) -> int:
    try:
        label = int(value.item() if isinstance(value, torch.Tensor | np.ndarray) else value.__index__())  # type: ignore[attr-defined]
    except (AttributeError, TypeError, ValueError):
        raise InputError(f"{name} has the label {value!r:.40}; valid: an integer") from None
    return label


def _digest(image: Image.Image) -> bytes:
    return hash_buffer(repr(image.size).encode() + image.tobytes())
