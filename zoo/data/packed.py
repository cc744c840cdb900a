"""Packed data: one .npz of pixels, or of encoded images, with labels; and `pack`, which writes pixels."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, final

import numpy as np
import torch
from numpy.lib import format as npy

from zoo.data.datasets import ImageDataset, label_images, open_arrays, title_of
from zoo.data.images import Transform, display_name
from zoo.data.splits import NAMED, Damage, decode
from zoo.errors import InputError
from zoo.files import replace_file
from zoo.progress import Advance, silent

WHOLE = ""
"""Name of a split that is not divided."""

_ENCODED = ("jpeg", "offsets", "labels", "classes")
"""Arrays of encoded images; `numbers`, each image's number in its class, may stand beside them."""

_PIXELS = ("images", "labels")
"""Arrays of pixels; `classes`, `names` and `split` may stand beside them."""

MAPPED = 2**30
"""Bytes of pixels above which they are left on the disk, if the file has them uncompressed."""

_MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"RIFF": "WebP", b"GIF8": "GIF", b"BM": "BMP"}

_DATE = (1980, 1, 1, 0, 0, 0)
"""Of all members, so that the same images make the same file."""


def open_packed(path: Path) -> dict[str, ImageDataset]:
    """Open the splits of an .npz by their names; of one without an array `split`, all images as `WHOLE`.

    It holds `images` (N, H, W, C) uint8 and `labels` (N,), and maybe `classes`, `names` (N,) and `split` (N,); or
    `jpeg` (bytes), `offsets` (N + 1), `labels`, `classes`, and maybe `numbers` (N,). Other arrays are not read.

    Raises:
        InputError: there is no such file, it is something else, or its arrays do not fit together.
    """
    where = display_name(path)
    with _explained(where):
        arrays = _read(path, where)
        if "jpeg" in arrays:
            return {WHOLE: _encoded(arrays, path, where)}
        return _pixels(arrays, path, where)


@contextmanager
def _explained(where: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # numpy and zipfile raise errors of any type on damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{where} is not an .npz of plain arrays: {reason}; make or download it again") from error


def _read(path: Path, where: str) -> dict[str, np.ndarray[Any, Any]]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    if not zipped:
        raise InputError(
            f"{where} is not an .npz of plain arrays; data are a folder with a folder of images for every class, an "
            f".npz with the arrays {', '.join(_PIXELS)}, or {', '.join(_ENCODED)}, a .parquet or .tar file, or a data "
            "set by name, such as cifar10"
        )
    with np.load(path, allow_pickle=False) as file:
        needed = _ENCODED if "jpeg" in file.files else _PIXELS
        missing = [name for name in needed if name not in file.files]
        if missing:
            held = display_name(", ".join(file.files[:10]))[:200]
            raise InputError(
                f"{where} lacks the arrays {', '.join(missing)}; it holds {held or 'none'}; valid: "
                f"{', '.join(_PIXELS)} of pixels, or {', '.join(_ENCODED)} of encoded images"
            )
        wanted = [name for name in (*needed, "numbers", "classes", "names", "split") if name in file.files]
        mapped = _map(path, "images") if needed is _PIXELS else None
        arrays = {name: file[name] for name in dict.fromkeys(wanted) if name != "images" or mapped is None}
    return arrays if mapped is None else arrays | {"images": mapped}


def _map(path: Path, name: str) -> np.ndarray[Any, Any] | None:
    """Map a large array of an .npz that lies in it uncompressed, which `np.load` cannot; None for any other."""
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        member = archive.getinfo(f"{name}.npy")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size <= MAPPED:
            return None
        file.seek(member.header_offset + 26)
        file.seek(sum(struct.unpack("<HH", file.read(4))), io.SEEK_CUR)
        if npy.read_magic(file) != (1, 0):
            return None
        shape, by_columns, dtype = npy.read_array_header_1_0(file)
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if by_columns else "C")


def _check_row(arrays: dict[str, np.ndarray[Any, Any]], name: str, kinds: str, where: str, count: int) -> None:
    """Raise `InputError` if an array that is there is no row of numbers or of names, or not of that length."""
    array = arrays.get(name)
    if array is None:
        return
    if array.ndim != 1 or array.dtype.kind not in kinds:
        valid = "one row of names, each once" if kinds == "U" else "one row of integers"
        raise InputError(f"{where}: {name} is {array.dtype} of shape {array.shape}; valid: {valid}")
    if count >= 0 and len(array) != count:
        raise InputError(f"{where}: {len(array)} {name} must go with {count} images; valid: one for each")
    if kinds == "U":
        for text in array.tolist():
            try:
                text.encode(errors="surrogateescape")
            except UnicodeEncodeError as error:
                raise InputError(f"{where}: {name} has {text!a}, which is not text; valid: names in Unicode") from error


def _encoded(arrays: dict[str, np.ndarray[Any, Any]], path: Path, where: str) -> ImageDataset:
    data, offsets, labels = arrays["jpeg"], arrays["offsets"], arrays["labels"]
    if data.dtype != np.uint8 or data.ndim != 1:
        raise InputError(f"{where}: jpeg is {data.dtype} of shape {data.shape}; valid: one row of uint8")
    _check_row(arrays, "offsets", "iu", where, -1)
    _check_row(arrays, "classes", "U", where, -1)
    _check_row(arrays, "labels", "iu", where, len(offsets) - 1)
    _check_row(arrays, "numbers", "iu", where, len(offsets) - 1)
    if offsets[0] != 0 or (offsets[1:] < offsets[:-1]).any() or offsets[-1] != len(data):
        raise InputError(f"{where}: offsets must rise from 0 to the {len(data)} bytes of jpeg; the file is cut")
    offsets = offsets.astype(np.int64)
    classes = arrays["classes"].tolist()
    title, stored_as = title_of(path), _formats(data, offsets)

    def stored(key: int) -> bytes:
        return data[offsets[key] : offsets[key + 1]].tobytes()

    listed = label_images(stored, len(labels), labels, classes, None, where, title, stored_as)
    numbers = arrays.get("numbers", np.arange(len(labels))).tolist()
    names = [f"{classes[label]}/{number:05d}.jpg" for label, number in zip(labels.tolist(), numbers, strict=True)]
    return replace(listed, names=names, length=lambda key: int(offsets[key + 1] - offsets[key]))


def _formats(data: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any]) -> str:
    """Return what the images' first bytes say, such as `JPEG`."""
    heads = {data[start : min(start + 4, end)].tobytes() for start, end in pairwise(offsets.tolist())}
    kinds = {kind for head in heads for magic, kind in _MAGIC.items() if head.startswith(magic)}
    return " and ".join(sorted(kinds)) or "unknown"


def _pixels(arrays: dict[str, np.ndarray[Any, Any]], path: Path, where: str) -> dict[str, ImageDataset]:
    images = arrays["images"]
    count = len(images) if images.ndim else -1
    _check_row(arrays, "classes", "U", where, -1)
    _check_row(arrays, "names", "U", where, count)
    _check_row(arrays, "split", "U", where, count)
    classes, names = (arrays[name].tolist() if name in arrays else None for name in ("classes", "names"))
    whole = open_arrays(images, arrays["labels"], classes, names, where, title_of(path))
    if "split" not in arrays:
        return {WHOLE: whole}
    if not all(arrays["split"].tolist()):
        raise InputError(f"{where}: split has empty names; valid: one for each image, such as train and val")
    return {
        split: whole.select(torch.from_numpy((arrays["split"] == split).nonzero()[0]), f"the {split} part")
        for split in dict.fromkeys(arrays["split"].tolist())
    }


# Writing --------------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Pack:
    """A file that `pack` wrote.

    Attributes:
        file: the .npz.
        images: by split; `all` if they are not divided.
        classes: names in label order.
        image_size: pixels a side.
        bytes: length of the file.
        sha256: of the file.
        damaged: images that were left out.
        notes: the first of these, and why.
    """

    file: Path
    images: dict[str, int]
    classes: tuple[str, ...]
    image_size: int
    bytes: int
    sha256: str
    damaged: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return one object, as `zoo pack --json` prints it."""
        return vars(self) | {"file": str(self.file), "classes": list(self.classes), "notes": list(self.notes)}


def check_target(out: Path, replace: bool) -> None:
    """Raise `InputError` if no pack can be written there."""
    name = display_name(out)
    if out.suffix != ".npz":
        raise InputError(f"{name} does not end with .npz; a pack is named so, as {name}.npz")
    if out.is_dir() or (out.exists() and not replace):
        raise InputError(f"{name} is there already; choose another name, or allow replacing it (--force)")
    if not out.parent.is_dir():
        raise InputError(f"the folder {display_name(out.parent)} does not exist; make it, or choose another (--out)")


def write_pack(
    parts: dict[str, ImageDataset], out: Path, transform: Transform, max_damaged: int, advance: Advance = silent
) -> Pack:
    """Write splits into an .npz: `images` (N, H, W, 3), `labels`, `classes`, `names`, and `split` if there are several.

    Args:
        parts: data sets of the same classes, by split; `WHOLE` for what is not divided.
        out: the file.
        transform: size and interpolation.
        max_damaged: images of a split that are left out before it is an error.
        advance: called with the number of images just done.

    Raises:
        InputError: images are damaged, or the file cannot be written. Nothing half-written is left.
    """
    damages = {split: Damage(max_damaged) for split in parts}
    writer = _Writer(parts, transform, damages, advance)
    try:
        replace_file(out, writer.write)
        with out.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{display_name(out)} cannot be written: {error.strerror or error}; make room there"
        ) from error
    return Pack(
        file=out,
        images={split or "all": len(writer.sound(split)) for split in parts},
        classes=next(iter(parts.values())).classes,
        image_size=transform.preprocessing.size,
        bytes=out.stat().st_size,
        sha256=digest,
        damaged=sum(damage.count for damage in damages.values()),
        notes=tuple(name for damage in damages.values() for name in damage.names)[:NAMED],
    )


@final
@dataclass(frozen=True)
class _Writer:
    """Writes splits one after another, decoding as it goes; sound images alone."""

    parts: dict[str, ImageDataset]
    transform: Transform
    damages: dict[str, Damage]
    advance: Advance

    def write(self, file: IO[bytes]) -> None:
        """Fill the file; again from its start if images turn out to be damaged, since it begins with their number."""
        while not self._try(file):
            file.seek(0)
            file.truncate()

    def sound(self, split: str) -> list[int]:
        """Return the rows of a split that are not known to be damaged."""
        return [row for row in range(len(self.parts[split])) if row not in self.damages[split].reasons]

    def _try(self, file: IO[bytes]) -> bool:
        """Return whether as many images were written as the file says."""
        expected, side = sum(len(self.sound(split)) for split in self.parts), self.transform.preprocessing.size
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            written = 0
            with _member(archive, "images", "|u1", (expected, side, side, 3)) as stream:
                for split, data in self.parts.items():
                    for _, image, _ in decode(data, self.transform, torch.arange(len(data)), self.damages[split]):
                        stream.write(image.permute(1, 2, 0).contiguous().numpy().tobytes())
                        written += 1
                        self.advance(1)
            if written != expected:
                return False
            for name, array in self._beside().items():
                with _member(archive, name, array.dtype.str, array.shape) as stream:
                    stream.write(array.tobytes())
        return True

    def _beside(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the arrays that stand beside the images."""
        kept = {split: data.select(torch.tensor(self.sound(split))) for split, data in self.parts.items()}
        for split, data in self.parts.items():
            check_left(data, kept[split].labels, self.damages[split])
        first = next(iter(kept.values()))
        labels = np.concatenate([data.labels.numpy() for data in kept.values()])
        names = [data.name(row) for data in kept.values() for row in range(len(data))]
        arrays = {"labels": labels, "names": np.array(names), "classes": np.array(first.classes)}
        if first.numbered:
            arrays["labels"] = np.array([int(name) for name in first.classes], np.int64)[labels]
            del arrays["classes"]
        if WHOLE in kept:
            return arrays
        return arrays | {"split": np.repeat(list(kept), [len(data) for data in kept.values()])}


def check_left(data: ImageDataset, labels: torch.Tensor, damage: Damage) -> None:
    """Raise `InputError` if all images of a class were damaged; `labels` are those of the images that are left."""
    lost = sorted(set(data.labels.tolist()) - set(labels.tolist()))
    if lost:
        raise InputError(
            f"{data.where}: all images of {data.classes[lost[0]]!r} are damaged: {'; '.join(damage.names)}"
        )


def _member(archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...]) -> IO[bytes]:
    """Open an array of the .npz for writing, behind its header; its values follow in C order."""
    stream = archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w", force_zip64=True)
    npy.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream
