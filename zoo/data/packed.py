"""Packed splits: the encoded images of one split in an .npz, or the pixels of one or of several."""

from __future__ import annotations

import io
import math
from itertools import pairwise
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from PIL import Image

from zoo.data.fingerprints import hash_buffer
from zoo.data.image_list import ImageStore, Listing, title_of
from zoo.data.images import decode_image, display_name, upright_size
from zoo.data.members import ArrayFile, Header, open_arrays
from zoo.data.pixels import PixelStore, check_labels, check_shape, list_pixels, number_names
from zoo.errors import InputError, shorten

_ARRAYS = ("jpeg", "offsets", "labels", "classes")

_NUMBERS = "numbers"
"""An array that may be there too: each image's number in its class."""

WHOLE = ""
"""What images are called that nobody has divided."""

_PIXELS = ("images", "labels")
_BESIDE = ("classes", "names", "split")
"""Arrays that may stand beside pixels: class names in label order, each image's name, and the split that it is of."""

_MAPPED = 2**30
"""Bytes of pixels above which they are left on the disk, where the file has them uncompressed."""

_LONGEST_NAME = 1000
"""Characters of a class's name."""

_ZIP = b"PK"
"""What an .npz begins with."""

_MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"RIFF": "WebP", b"GIF8": "GIF", b"BM": "BMP"}


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

    def digest(self, key: int) -> bytes:
        return hash_buffer(self._data[self._offsets[key] : self._offsets[key + 1]].data)

    def _open(self, key: int) -> io.BytesIO:
        return io.BytesIO(self._data[self._offsets[key] : self._offsets[key + 1]].tobytes())

    def _title(self, key: int) -> str:
        return f"image {key} of {self._where} ({self._names[key]})"


def list_packed(path: Path) -> Listing:
    """A packed split: arrays `jpeg` (bytes), `offsets` (n + 1), `labels`, `classes`, and maybe `numbers`.

    Other arrays in the file are not read. Of these, headers are checked before there is memory for any values.

    Raises:
        InputError: no such file, not such a file, or arrays that do not fit together.
    """
    where = display_name(path)
    _check_zip(path, where)
    with open_arrays(path, where) as packed:
        return _list_encoded(_encoded_arrays(packed, where), path, where)


def list_parts(path: Path) -> dict[str, Listing]:
    """The splits in an .npz by their names; of one that is not divided, all images as `WHOLE`.

    Beside what `list_packed` takes: arrays `images` (N, H, W, C) uint8 and `labels` (N,), and maybe `classes`, `names`
    (N,) and `split` (N,).

    Raises:
        InputError: as `list_packed` does.
    """
    where = display_name(path)
    _check_zip(path, where)
    with open_arrays(path, where) as packed:
        if "images" not in packed.names or "jpeg" in packed.names:
            return {WHOLE: _list_encoded(_encoded_arrays(packed, where), path, where)}
        arrays = _pixel_arrays(packed, where)
    return _list_pixels(arrays, path, where)


def _list_encoded(arrays: dict[str, np.ndarray[Any, Any]], path: Path, where: str) -> Listing:
    classes = tuple(arrays["classes"].tolist())
    labels, offsets = arrays["labels"].astype(np.int64), arrays["offsets"].astype(np.int64)
    names = [
        f"{classes[label]}/{number:05d}.jpg" for label, number in zip(labels, _numbers(arrays, labels), strict=True)
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


def _encoded_arrays(packed: ArrayFile, where: str) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays that a split of encoded images has, checked."""
    missing = [name for name in _ARRAYS if name not in packed.names]
    if missing:
        held = ", ".join(shorten(name) if len(name) > 60 else display_name(name) for name in packed.names[:10])
        raise InputError(
            f"{where} lacks the arrays {', '.join(missing)}; it holds {held or 'none'}; valid: {', '.join(_ARRAYS)} of "
            f"encoded images, or {', '.join(_PIXELS)} of pixels"
        )
    wanted = [name for name in (*_ARRAYS, _NUMBERS) if name in packed.names]
    headers = {name: packed.header(name) for name in wanted}
    _check_headers(headers, where)
    arrays = {name: packed.read(name) for name in wanted if name != "jpeg"}
    _check_values(arrays, headers["jpeg"].shape[0], where)
    return arrays | {"jpeg": packed.read("jpeg")}  # the largest: what is wrong with the others is told first


def _pixel_arrays(packed: ArrayFile, where: str) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of pixels and of what stands beside them, checked."""
    if "labels" not in packed.names:
        raise InputError(f"{where} has images, but no labels; add an array labels, an integer for each image")
    wanted = [name for name in (*_PIXELS, *_BESIDE) if name in packed.names]
    headers = {name: packed.header(name) for name in wanted}
    check_shape(headers["images"].dtype, headers["images"].shape, where)
    images = headers["images"].shape[0]
    for name in wanted[1:]:
        header = headers[name]
        texts = name in _BESIDE
        if len(header.shape) != 1 or header.dtype.kind not in ("U" if texts else "iu"):
            kind = "names" if texts else "integers"
            raise InputError(f"{where}: {name} is {header.dtype} of shape {header.shape}; valid: one row of {kind}")
        if texts and header.dtype.itemsize > 4 * _LONGEST_NAME:
            raise InputError(f"{where}: {name} is {header.dtype}; valid: names of up to {_LONGEST_NAME} characters")
        if name != "classes" and header.shape[0] != images:
            raise InputError(f"{where}: {header.shape[0]} {name} must go with {images} images; valid: one for each")
    arrays = {name: packed.read(name) for name in wanted if name != "images"}
    large = math.prod(headers["images"].shape) > _MAPPED and packed.is_stored("images")
    return arrays | {"images": packed.map("images") if large else packed.read("images")}


def _list_pixels(arrays: dict[str, np.ndarray[Any, Any]], path: Path, where: str) -> dict[str, Listing]:
    """What the file holds, split by split."""
    classes = tuple(arrays["classes"].tolist()) if "classes" in arrays else None
    if classes is not None and len(set(classes)) != len(classes):
        raise InputError(f"{where}: classes must be one row of names, each once")
    if "split" in arrays and not all(arrays["split"].tolist()):
        raise InputError(f"{where}: split has empty names; valid: one for each image, such as train and val")
    labels = arrays["labels"]
    check_labels(labels, classes, where)
    names = arrays["names"].tolist() if "names" in arrays else number_names(labels, classes)
    store = PixelStore(arrays["images"], names, path if isinstance(arrays["images"], np.memmap) else None)
    whole = list_pixels(store, labels, classes, where=where, title=title_of(path))
    if "split" not in arrays:
        return {WHOLE: whole}
    return {
        split: whole.select(torch.from_numpy((arrays["split"] == split).nonzero()[0]), f"the {split} part")
        for split in dict.fromkeys(arrays["split"].tolist())
    }


def _check_zip(path: Path, where: str) -> None:
    """Raise `InputError` where there is no such file, or something else, such as a photograph."""
    if not path.is_file():
        raise InputError(f"{where} is not a file; a packed split is an .npz with the arrays {', '.join(_ARRAYS)}")
    try:
        with path.open("rb") as file:
            zipped = file.read(len(_ZIP)) == _ZIP
    except OSError as error:
        raise InputError(f"{where} cannot be read: {error.strerror}; check its owner and mode") from error
    if not zipped:
        raise InputError(
            f"{where} is not an .npz of plain arrays; data are a folder with a folder of images for every class, a "
            f"packed split (an .npz with the arrays {', '.join(_PIXELS)}, or {', '.join(_ARRAYS)}), a set of the Hub "
            "(hfds/ORG/NAME, or hfds/FOLDER of .parquet files), a tar of WebDataset (wds/FILE.tar), or a data set by "
            "name, such as cifar10"
        )


def _check_headers(headers: dict[str, Header], where: str) -> None:
    """Raise `InputError` where what the arrays declare cannot be a split, or does not fit together."""
    kinds = {"jpeg": "u", "offsets": "iu", "labels": "iu", "classes": "U", _NUMBERS: "iu"}
    for name, header in headers.items():
        if len(header.shape) == 1 and header.dtype.kind in kinds[name]:
            continue
        if name == "classes":
            raise InputError(f"{where}: classes must be one row of names, each once")
        if name == _NUMBERS and len(header.shape) == 1:
            raise InputError(f"{where}: numbers must be integers, not {header.dtype}")
        raise InputError(f"{where}: {name} is {header.dtype} of shape {header.shape}; valid: one row of integers")
    if headers["jpeg"].dtype.itemsize != 1:
        raise InputError(f"{where}: jpeg is {headers['jpeg'].dtype}; valid: uint8")
    if headers["classes"].dtype.itemsize > 4 * _LONGEST_NAME:
        raise InputError(
            f"{where}: classes is {headers['classes'].dtype}; valid: names of up to {_LONGEST_NAME} characters"
        )
    images, classes = headers["offsets"].shape[0] - 1, headers["classes"].shape[0]
    if headers["labels"].shape[0] != images:
        raise InputError(
            f"{where}: {headers['labels'].shape[0]} labels from 0 to {classes - 1} must go with {images} images"
        )
    if _NUMBERS in headers and headers[_NUMBERS].shape[0] != images:
        raise InputError(f"{where}: {headers[_NUMBERS].shape[0]} numbers must go with {images} images")


def _check_values(arrays: dict[str, np.ndarray[Any, Any]], size: int, where: str) -> None:
    """Raise `InputError` where the values do not fit together, or to `size` bytes of images."""
    offsets, labels, classes = (arrays[name] for name in _ARRAYS[1:])
    if len(set(classes.tolist())) != len(classes):
        raise InputError(f"{where}: classes must be one row of names, each once")
    images, known = len(labels), len(classes)
    if not ((labels >= 0) & (labels < known)).all():
        raise InputError(f"{where}: {images} labels from 0 to {known - 1} must go with {images} images")
    # Neighbours are compared, not subtracted: a difference of two 64-bit numbers may not fit into one.
    if offsets[0] != 0 or (offsets[1:] < offsets[:-1]).any() or offsets[-1] != size:
        raise InputError(f"{where}: offsets must rise from 0 to the {size} bytes of jpeg; the file is cut or mixed up")


def _numbers(arrays: dict[str, np.ndarray[Any, Any]], labels: np.ndarray[Any, Any]) -> list[int]:
    """Each image's number in its class, or in the file where the file does not say."""
    return arrays[_NUMBERS].tolist() if _NUMBERS in arrays else list(range(len(labels)))


def _formats(data: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any]) -> str:
    """What the images' first bytes say, such as `JPEG`."""
    heads = {data[start : min(start + 4, end)].tobytes() for start, end in pairwise(offsets)}
    kinds = {kind for head in heads for magic, kind in _MAGIC.items() if head.startswith(magic)}
    return " and ".join(sorted(kinds)) or "unknown"
