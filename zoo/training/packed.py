"""Packed image files: all JPEGs of a split in one .npz, decoded once and kept in memory as bytes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from zoo.errors import InputError

_ARRAYS = ("jpeg", "offsets", "labels", "classes")


@dataclass(frozen=True)
class PackedImages:
    """A split in memory.

    Attributes:
        pixels: (n, 3, H, W) uint8.
        labels: (n,) int64.
        classes: names in label order.
    """

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of pixels in [0, 1], float32 (N, 3, H, W), and labels (N,); in `order`, whole ones alone."""
        rows = torch.arange(len(self)) if order is None else order
        for batch in rows.split(size):
            if order is not None and len(batch) < size:
                return
            yield self.pixels[batch].float() / 255, self.labels[batch]


def load_packed(path: Path | str) -> PackedImages:
    """Decode a packed split: arrays `jpeg` (bytes), `offsets` (n + 1), `labels`, `classes`.

    Raises:
        InputError: no such file, not such a file, or images of several sizes.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} is no file; a packed split is an .npz with the arrays {', '.join(_ARRAYS)}")
    data, offsets, labels, classes = _arrays(path)
    images, known = len(offsets) - 1, len(classes)
    if len(labels) != images or not ((labels >= 0) & (labels < known)).all():
        raise InputError(f"{path}: {len(labels)} labels from 0 to {known - 1} must go with {images} images")
    decoded = [
        _decode(data[start:end].tobytes(), f"image {i} of {path}") for i, (start, end) in enumerate(pairwise(offsets))
    ]
    sizes = {image.shape for image in decoded}
    if len(sizes) != 1:
        raise InputError(f"{path} holds images of {len(sizes)} sizes; a packed split has one")
    pixels = torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).contiguous()
    return PackedImages(pixels, torch.from_numpy(labels.astype(np.int64)), tuple(str(name) for name in classes))


def _arrays(path: Path) -> list[np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as packed:
            found = dict(packed)
    except (ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no .npz of plain arrays: {error}") from error
    missing = [name for name in _ARRAYS if name not in found]
    if missing:
        raise InputError(f"{path} lacks the arrays {', '.join(missing)}")
    return [found[name] for name in _ARRAYS]


def _decode(data: bytes, what: str) -> np.ndarray:
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{what} is damaged: {error}") from error


def augment(x: Tensor, flip: bool, max_shift: int, generator: torch.Generator) -> Tensor:
    """Each image mirrored with probability ½ and moved by up to `max_shift` pixels, black entering.

    Args:
        x: (N, C, H, W).
        flip: whether to mirror.
        max_shift: pixels.
        generator: of the random choices.
    """
    n, _, height, width = x.shape
    if flip:
        mirrored = torch.rand(n, generator=generator) < 0.5
        x = torch.where(mirrored.reshape(-1, 1, 1, 1), x.flip(3), x)
    if not max_shift:
        return x
    padded = functional.pad(x, (max_shift,) * 4)
    shifts = torch.randint(0, 2 * max_shift + 1, (2, n, 1), generator=generator)
    rows = (shifts[0] + torch.arange(height)).reshape(n, 1, height, 1)
    columns = (shifts[1] + torch.arange(width)).reshape(n, 1, 1, width)
    every = torch.arange(n).reshape(n, 1, 1, 1), torch.arange(x.shape[1]).reshape(1, -1, 1, 1)
    return padded[every[0], every[1], rows, columns]
