"""Packed data: one .npz of pixels, or of encoded images, with labels; and writing one of pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.data.datasets import WHOLE, ImageDataset, label_images, open_arrays
from zoo.data.images import display_name, reading
from zoo.data.splits import ImageSplit
from zoo.errors import InputError, writing_to
from zoo.files import replace_file

Array = np.ndarray[Any, Any]
_ARRAYS = ("images", "jpeg", "offsets", "labels", "classes", "names", "split")


def open_packed(path: Path) -> dict[str, ImageDataset]:
    """Open the splits of an .npz by their names; of one without an array `split`, all images as `WHOLE`.

    The file holds `images` (N, H, W, C) uint8, or `jpeg` (bytes of image files) and `offsets` (N + 1); `labels` (N,);
    and maybe `classes`, `names` (N,) and `split` (N,). Raises `InputError` if it is damaged, or they do not fit.
    """
    where = display_name(path)
    with reading(where, "it must be an .npz with the arrays images, or jpeg and offsets, and labels"):
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS if name in file.files}
        return _open(arrays, where)


def _open(arrays: Mapping[str, Array], where: str) -> dict[str, ImageDataset]:
    classes, names = (arrays[name].tolist() if name in arrays else None for name in ("classes", "names"))
    if "jpeg" in arrays:
        stored, count = _encoded(arrays["jpeg"], arrays["offsets"], where)
        whole = label_images(stored, count, arrays["labels"], classes, names, where)
    else:
        whole = open_arrays(arrays["images"], arrays["labels"], classes, names, where)
    for name in ("names", "split"):
        array = arrays.get(name)
        if array is not None and (array.shape != (len(whole),) or array.dtype.kind != "U"):
            raise InputError(f"{where}: {name} is {array.dtype} of shape {array.shape}; valid: a text for each image")
    if "split" not in arrays:
        return {WHOLE: whole}
    return {
        split: whole.select(torch.from_numpy((arrays["split"] == split).nonzero()[0]), f"the {split} part")
        for split in dict.fromkeys(arrays["split"].tolist())
    }


def _encoded(data: Array, offsets: Array, where: str) -> tuple[Callable[[int], bytes], int]:
    """Return the function from a row to an image's bytes, and the number of images."""
    rising = offsets.dtype.kind in "iu" and offsets[0] == 0 and not (offsets[1:] < offsets[:-1]).any()
    if data.dtype != np.uint8 or data.shape != (offsets[-1],) or not rising:
        raise InputError(f"{where}: offsets must be integers that rise from 0 to the bytes of jpeg; the file is cut")
    bounds = offsets.astype(np.int64)
    return lambda row: data[bounds[row] : bounds[row + 1]].tobytes(), len(offsets) - 1


def write_pack(splits: Mapping[str, ImageSplit], out: Path) -> dict[str, Any]:
    """Write decoded splits of the same classes into an .npz as `open_packed` reads it; raises `InputError`.

    The same images make the same bytes.
    """
    parts = list(splits.values())
    pixels = torch.cat([part.pixels for part in parts if part.pixels is not None])
    arrays = {
        "images": pixels.permute(0, 2, 3, 1).numpy(),
        "labels": np.concatenate([part.labels.numpy() for part in parts]),
        "names": np.array([name for part in parts for name in part.data.names]),
        "classes": np.array(parts[0].classes),
    }
    if WHOLE not in splits:
        arrays["split"] = np.repeat(list(splits), [len(part) for part in parts])
    with writing_to(out):
        replace_file(out, lambda file: np.savez(file, allow_pickle=False, **arrays))
        with out.open("rb") as written:
            digest = hashlib.file_digest(written, "sha256").hexdigest()
    return {
        "file": str(out),
        "images": {split or "all": len(part) for split, part in splits.items()},
        "classes": list(parts[0].classes),
        "image_size": parts[0].size[0],
        "bytes": out.stat().st_size,
        "sha256": digest,
        "damaged": sum(len(part.damaged) for part in parts),
        "notes": [note for split, part in splits.items() for note in part.damage_notes(split or "packed")],
    }
