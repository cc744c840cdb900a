"""Packed data: one .npz of pixels, or of encoded images, with labels; and writing one of pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from zoo.data.datasets import WHOLE, ImageDataset, label_images, open_arrays
from zoo.data.images import display_name
from zoo.data.splits import ImageSplit
from zoo.errors import InputError, writing_to
from zoo.files import replace_file

Array = np.ndarray[Any, Any]

_ROWS = {"labels": "iu", "numbers": "iu", "names": "U", "split": "U"}
"""Arrays with an entry for each image, and the kinds of numpy that they may have."""


def open_packed(path: Path) -> dict[str, ImageDataset]:
    """Open the splits of an .npz by their names; of one without an array `split`, all images as `WHOLE`.

    The file holds `images` (N, H, W, C) uint8 and `labels` (N,), and maybe `classes`, `names` (N,) and `split` (N,); or
    `jpeg` (bytes), `offsets` (N + 1), `labels`, `classes`, and maybe `numbers` (N,), each image's number in its class.
    Other arrays are not read.

    Raises:
        InputError: there is no such file, it is something else, or its arrays do not fit together.
    """
    where = display_name(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            known = (*_ROWS, "classes", "images", "jpeg", "offsets")
            arrays = {name: file[name] for name in known if name in file.files}
        return _open(arrays, where)
    except InputError:
        raise
    except Exception as error:  # numpy and zipfile raise errors of any type on damaged bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{where} is not an .npz with the arrays images and labels, or jpeg, offsets, labels and classes "
            f"({reason}); data are also a folder with a folder of images for every class, a .parquet or .tar file, or "
            "a data set by name, such as cifar10"
        ) from error


def _open(arrays: Mapping[str, Array], where: str) -> dict[str, ImageDataset]:
    count = len(arrays["offsets"]) - 1 if "jpeg" in arrays else len(arrays["images"])
    for name, kinds in _ROWS.items():
        array = arrays.get(name)
        if array is not None and (array.shape != (count,) or array.dtype.kind not in kinds):
            valid = f"{count} {'texts' if kinds == 'U' else 'integers'} in a row, one for each image"
            raise InputError(f"{where}: {name} is {array.dtype} of shape {array.shape}; valid: {valid}")
    classes = arrays["classes"].tolist() if "classes" in arrays else None
    if "jpeg" in arrays:
        whole = _open_encoded(arrays, classes, where)
    else:
        names = arrays["names"].tolist() if "names" in arrays else None
        whole = open_arrays(arrays["images"], arrays["labels"], classes, names, where)
    if "split" not in arrays:
        return {WHOLE: whole}
    return {
        split: whole.select(torch.from_numpy((arrays["split"] == split).nonzero()[0]), f"the {split} part")
        for split in dict.fromkeys(arrays["split"].tolist())
    }


def _open_encoded(arrays: Mapping[str, Array], classes: list[str] | None, where: str) -> ImageDataset:
    data, offsets, labels = arrays["jpeg"], arrays["offsets"], arrays["labels"]
    rising = offsets.dtype.kind in "iu" and offsets[0] == 0 and not (offsets[1:] < offsets[:-1]).any()
    if data.dtype != np.uint8 or data.shape != (offsets[-1],) or not rising:
        raise InputError(f"{where}: offsets must be integers that rise from 0 to the bytes of jpeg; the file is cut")
    offsets = offsets.astype(np.int64)

    def stored(key: int) -> bytes:
        return data[offsets[key] : offsets[key + 1]].tobytes()

    listed = label_images(stored, len(labels), labels, classes, None, where)
    if "numbers" not in arrays:
        return listed
    pairs = zip(listed.labels.tolist(), arrays["numbers"].tolist(), strict=True)
    return replace(listed, names=[f"{listed.classes[label]}/{number:05d}.jpg" for label, number in pairs])


# Writing --------------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Pack:
    """A file that `pack` wrote.

    Attributes:
        file, bytes, sha256: its path, length and hash.
        images: by split; `all` if they are not divided.
        classes: names in label order.
        image_size: pixels a side.
        damaged, notes: images that were left out, and the first of their faults.
    """

    file: Path
    images: dict[str, int]
    classes: tuple[str, ...]
    image_size: int
    bytes: int
    sha256: str
    damaged: int
    notes: tuple[str, ...]


def write_pack(splits: Mapping[str, ImageSplit], out: Path) -> Pack:
    """Write decoded splits of the same classes into an .npz as `open_packed` reads it; the same images, the same bytes.

    Raises:
        InputError: the file cannot be written. Nothing half-written is left.
    """
    parts = list(splits.values())
    pixels = torch.cat([part.pixels for part in parts if part.pixels is not None])
    arrays = {
        "images": pixels.permute(0, 2, 3, 1).numpy(),
        "labels": np.concatenate([part.labels.numpy() for part in parts]),
        "names": np.array([part.data.name(row) for part in parts for row in range(len(part))]),
        "classes": np.array(parts[0].classes),
    }
    if WHOLE not in splits:
        arrays["split"] = np.repeat(list(splits), [len(part) for part in parts])
    with writing_to(out):
        replace_file(out, lambda file: np.savez(file, allow_pickle=False, **arrays))
        with out.open("rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
    return Pack(
        file=out,
        images={split or "all": len(part) for split, part in splits.items()},
        classes=parts[0].classes,
        image_size=parts[0].size[0],
        bytes=out.stat().st_size,
        sha256=digest,
        damaged=sum(part.damage.count for part in parts),
        notes=tuple(name for part in parts for name in part.damage.names),
    )
