"""Packed splits: the encoded images of one split in an .npz."""

from __future__ import annotations

import io
import lzma
import struct
import tokenize
import zipfile
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from PIL import Image

from zoo.errors import InputError
from zoo.images import decode_image, display_name, upright_size
from zoo.training.datasets.listing import ImageStore, Listing, title_of

_ARRAYS = ("jpeg", "offsets", "labels", "classes")

_ZIP = b"PK"
"""What an .npz begins with; numpy takes any other file for pickled objects, and says so."""

_MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"RIFF": "WebP", b"GIF8": "GIF", b"BM": "BMP"}

# What numpy and zipfile raise on damaged files, found by feeding them some thousands.
_DAMAGE = (
    *(ValueError, TypeError, LookupError, ArithmeticError, MemoryError, RuntimeError, SyntaxError, OSError, EOFError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError),
)


@final
class PackedStore(ImageStore):
    """Images one after another in one array of bytes.

    Args:
        data: all bytes.
        offsets: (n + 1,), where each begins and the last ends.
        names: (n,) `class/number.jpg`, as unpacked.
        where: the file, for messages.
    """

    def __init__(self, data: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any], names: list[str], where: str) -> None:
        self._data, self._offsets, self._names, self._where = data, offsets, names, where

    def name(self, key: int) -> str:
        return self._names[key]

    def image(self, key: int) -> Image.Image:
        return decode_image(self._open(key), self._title(key))

    def upright_size(self, key: int) -> tuple[int, int]:
        return upright_size(self._open(key), self._title(key))

    def stored_bytes(self, key: int) -> int:
        return int(self._offsets[key + 1] - self._offsets[key])

    def _open(self, key: int) -> io.BytesIO:
        return io.BytesIO(self._data[self._offsets[key] : self._offsets[key + 1]].tobytes())

    def _title(self, key: int) -> str:
        return f"image {key} of {self._where} ({self._names[key]})"


def list_packed(path: Path) -> Listing:
    """A packed split: arrays `jpeg` (bytes), `offsets` (n + 1), `labels`, `classes`, and maybe `numbers`.

    Raises:
        InputError: no such file, not such a file, or arrays that do not fit together.
    """
    where = display_name(path)
    if not path.is_file():
        raise InputError(f"{where} is no file; a packed split is an .npz with the arrays {', '.join(_ARRAYS)}")
    arrays = _arrays(path, where)
    _check(arrays, where)
    classes = tuple(str(name) for name in arrays["classes"])
    labels, offsets = arrays["labels"].astype(np.int64), arrays["offsets"].astype(np.int64)
    names = [
        f"{classes[label]}/{number:05d}.jpg"
        for label, number in zip(labels, _numbers(arrays, labels, where), strict=True)
    ]
    store = PackedStore(arrays["jpeg"], offsets, names, where)
    return Listing(
        store=store,
        keys=torch.arange(len(labels)),
        labels=torch.from_numpy(labels),
        classes=classes,
        where=where,
        title=title_of(path),
        stored_as=_formats(arrays["jpeg"], offsets),
    )


def _arrays(path: Path, where: str) -> dict[str, np.ndarray[Any, Any]]:
    try:
        with path.open("rb") as file:
            zipped = file.read(len(_ZIP)) == _ZIP
        found = _load(path) if zipped else None
    except _DAMAGE as error:
        raise InputError(f"{where} is no .npz of plain arrays: {error}") from error
    if found is None:
        raise InputError(
            f"{where} is no .npz of plain arrays; data are a folder with a folder of images for every class, a packed "
            f"split (an .npz with the arrays {', '.join(_ARRAYS)}), or a data set by name, such as cifar10"
        )
    missing = [name for name in _ARRAYS if name not in found]
    if missing:
        raise InputError(f"{where} lacks the arrays {', '.join(missing)}; it holds {', '.join(found) or 'none'}")
    return found


def _load(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(path, allow_pickle=False) as packed:
        return dict(packed)


def _check(arrays: dict[str, np.ndarray[Any, Any]], where: str) -> None:
    """Raise `InputError` where the arrays do not fit together."""
    data, offsets, labels, classes = (arrays[name] for name in _ARRAYS)
    kinds = {"jpeg": (data, "u", 1), "offsets": (offsets, "iu", 1), "labels": (labels, "iu", 1)}
    for name, (array, kind, dimensions) in kinds.items():
        if array.ndim != dimensions or array.dtype.kind not in kind:
            raise InputError(f"{where}: {name} is {array.dtype} of shape {array.shape}; valid: one row of integers")
    if data.itemsize != 1:
        raise InputError(f"{where}: jpeg is {data.dtype}; valid: uint8")
    if classes.ndim != 1 or classes.dtype.kind != "U" or len(set(classes.tolist())) != len(classes):
        raise InputError(f"{where}: classes must be one row of names, each once")
    images, known = len(offsets) - 1, len(classes)
    if len(labels) != images or not ((labels >= 0) & (labels < known)).all():
        raise InputError(f"{where}: {len(labels)} labels from 0 to {known - 1} must go with {images} images")
    if "numbers" in arrays and arrays["numbers"].shape != labels.shape:
        raise InputError(f"{where}: {arrays['numbers'].size} numbers must go with {images} images")
    ends = offsets.astype(np.int64)
    if ends[0] != 0 or (np.diff(ends) < 0).any() or ends[-1] != len(data):
        raise InputError(
            f"{where}: offsets must rise from 0 to the {len(data)} bytes of jpeg; the file is cut or mixed up"
        )


def _numbers(arrays: dict[str, np.ndarray[Any, Any]], labels: np.ndarray[Any, Any], where: str) -> list[int]:
    """Each image's number in its class, or in the file where the file does not say."""
    if "numbers" not in arrays:
        return list(range(len(labels)))
    if arrays["numbers"].dtype.kind not in "iu":
        raise InputError(f"{where}: numbers must be integers, not {arrays['numbers'].dtype}")
    return [int(number) for number in arrays["numbers"].tolist()]


def _formats(data: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any]) -> str:
    """What the images' first bytes say, such as `JPEG`."""
    heads = {data[start : min(start + 4, end)].tobytes() for start, end in pairwise(offsets)}
    found = {kind for head in heads for magic, kind in _MAGIC.items() if head.startswith(magic)}
    return " and ".join(sorted(found)) or "unknown"
