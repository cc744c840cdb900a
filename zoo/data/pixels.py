"""Images that are there as pixels: rows of an array of bytes, from a file, from a data set or from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from PIL import Image

from zoo.data.fingerprints import hash_buffer
from zoo.data.image_list import ImageStore, Listing
from zoo.data.images import MAX_PIXELS, upright_rgb
from zoo.errors import InputError

CHANNELS = {1: "grey", 3: "RGB", 4: "RGBA"}
"""What the last axis of an array of images may hold."""


@final
class PixelStore(ImageStore):
    """Images that are stored as pixels, losslessly.

    Args:
        pixels: (n, H, W, C) uint8, C of `CHANNELS`.
        names: (n,).
        file: that the pixels are left in; None where they are in memory.
    """

    def __init__(self, pixels: np.ndarray[Any, Any], names: Sequence[str], file: Path | None = None) -> None:
        self._pixels, self._names = pixels, names
        self.in_memory = file is None
        self._modified = 0 if file is None else int(file.stat().st_mtime)

    def name(self, key: int) -> str:
        return self._names[key]

    def image(self, key: int) -> Image.Image:
        return image_of(self._pixels[key], self._names[key])

    def upright_size(self, key: int) -> tuple[int, int]:
        height, width = self._pixels.shape[1:3]
        return width, height

    def stored_bytes(self, key: int) -> int:
        return self._pixels[key].nbytes

    def digest(self, key: int) -> bytes:
        return hash_buffer(self._pixels[key].tobytes())

    def modified(self, key: int) -> int:
        return self._modified


def image_of(pixels: np.ndarray[Any, Any], name: str) -> Image.Image:
    """(H, W, C) uint8, C of `CHANNELS`, as an RGB image; transparency is laid on white, as of a file."""
    return upright_rgb(Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels), name)


def check_shape(dtype: np.dtype[Any], shape: tuple[int, ...], where: str) -> None:
    """Raise `InputError` where such an array is not (N, H, W, C) uint8 of at least one pixel."""
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


def check_labels(labels: np.ndarray[Any, Any], classes: Sequence[str] | None, where: str) -> None:
    """Raise `InputError` for labels that are not one row of integers from 0 on, below the number of `classes`."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(f"{where}: labels is {labels.dtype} of shape {labels.shape}; valid: one row of integers")
    if not len(labels):
        return
    if labels.min() < 0:
        raise InputError(f"{where}: labels go down to {labels.min()}; valid: 0 and more; leave out what has no label")
    if classes is not None and labels.max() >= len(classes):
        raise InputError(
            f"{where}: labels go up to {labels.max()}; valid: 0 to {len(classes) - 1}, as classes are named"
        )


def list_pixels(
    store: ImageStore,
    labels: np.ndarray[Any, Any],
    classes: Sequence[str] | None,
    *,
    where: str,
    title: str,
    stored_as: str = "pixels",
    side: int | None = None,
) -> Listing:
    """The images of a store in its order.

    Args:
        store: its keys are 0 to n - 1.
        labels: (n,), checked by `check_labels`.
        classes: names in label order; None where labels are numbers alone, which then name the classes.
        where: file, or kind of data, for messages.
        title: what a card may say of that.
        stored_as: what the images are.
        side: as of `Listing`.
    """
    numbered = classes is None
    if classes is None:
        numbers, labels = np.unique(labels, return_inverse=True)
        classes = [str(number) for number in numbers.tolist()]
    return Listing(
        store=store,
        keys=torch.arange(len(labels)),
        labels=torch.from_numpy(labels.astype(np.int64)),
        classes=tuple(classes),
        where=where,
        title=title,
        stored_as=stored_as,
        numbered=numbered,
        side=side,
    )


def number_names(labels: np.ndarray[Any, Any], classes: Sequence[str] | None) -> list[str]:
    """`class/00000.jpg` for images without a name: each image's number in its class.

    A folder whose files are numbered so is divided into the same parts.
    """
    counts: dict[int, int] = {}
    names = []
    for label in labels.tolist():
        number = counts.get(label, 0)
        counts[label] = number + 1
        names.append(f"{classes[label] if classes is not None else label}/{number:05d}.jpg")
    return names
