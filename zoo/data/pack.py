"""Any data as one .npz of pixels: what a training reads of them, all of one size."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, final

import numpy as np
import torch
from numpy.lib import format as npy

from zoo.data.decode import decode
from zoo.data.image_list import Listing
from zoo.data.images import display_name
from zoo.data.in_hand import ImagesInHand
from zoo.data.load import list_both
from zoo.data.members import open_arrays
from zoo.data.packed import WHOLE
from zoo.data.size import choose_size
from zoo.data.source import CALLED, Source, check_classes
from zoo.data.splits import NAMED, Damage
from zoo.errors import InputError, check_count
from zoo.files import replace_file
from zoo.terminal import Progress

_DATE = (1980, 1, 1, 0, 0, 0)
"""Of all members, so that the same images make the same file."""


@final
@dataclass(frozen=True)
class Pack:
    """What was written.

    Attributes:
        file: the .npz.
        images: by split; `all` where nobody has divided them.
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
        """One object, as `zoo pack --json` prints it."""
        return vars(self) | {"file": str(self.file), "classes": list(self.classes), "notes": list(self.notes)}


def pack(
    source: str | Path | ImagesInHand,
    out: Path,
    *,
    image_size: int | None = None,
    root: Path | None = None,
    download: bool = True,
    max_damaged: int = 100,
    replace: bool = False,
    source_key: str = "",
    begin: Callable[[int], None] = lambda images: None,
    after_image: Progress = lambda images: None,
) -> Pack:
    """Write an .npz: arrays `images` (N, H, W, 3), `labels`, `classes`, `names`, and `split` where there are splits.

    A training on it sees the same pixels in the same order, divided the same way, as one on `source` does that is
    asked for the same image size.

    Args:
        source: as for `zoo.data.load_data`.
        out: the file.
        image_size: pixels a side; None for what `load_data` chooses.
        root: as for `load_data`.
        download: as for `load_data`.
        max_damaged: as for `load_data`.
        replace: whether a file that is there may be replaced.
        source_key: what `packed_from` tells of the file later; '' for nothing.
        begin: called with the number of images, before the first.
        after_image: told of each one that is done.

    Raises:
        InputError: `source` cannot be used, as `load_data` says; `out` is there already, or cannot be written. Nothing
            half-written is left.
    """
    if out.suffix != ".npz":
        raise InputError(f"{display_name(out)} does not end with .npz; a pack is named so, as {display_name(out)}.npz")
    if out.is_dir() or (out.exists() and not replace):
        raise InputError(f"{display_name(out)} is there already; choose another name, or allow replacing it (--force)")
    if not out.parent.is_dir():
        raise InputError(f"the folder {display_name(out.parent)} does not exist; make it, or choose another (--out)")
    parts = _parts(Source(source, root, 3407, download, image_size, out.parent, max_damaged))
    height, _ = size = choose_size(list(parts.values()), image_size).size
    limit = check_count("max_damaged", max_damaged, 0, 10**9)
    begin(sum(map(len, parts.values())))
    writer = _Writer(parts, size, {split: Damage(limit) for split in parts}, source_key, after_image)
    try:
        replace_file(out, writer.write)
        with out.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{display_name(out)} cannot be written: {error.strerror or error}; make room there"
        ) from error
    damages = writer.damages.values()
    left_out = [reason for listing in parts.values() for reason in listing.left_out]
    return Pack(
        file=out,
        images={split or "all": len(listing) - writer.damages[split].count for split, listing in parts.items()},
        classes=next(iter(parts.values())).classes,
        image_size=height,
        bytes=out.stat().st_size,
        sha256=digest,
        damaged=len(left_out) + sum(damage.count for damage in damages),
        notes=(*left_out[:NAMED], *(name for damage in damages for name in damage.names)),
    )


def _parts(source: Source) -> dict[str, Listing]:
    """The splits of the data, or `WHOLE`, labels and all as a training sees them."""
    parts = source.parts()
    if WHOLE not in parts:
        return dict(zip(CALLED, list_both(source), strict=True))
    whole = parts[WHOLE]()
    check_classes(whole)
    return {WHOLE: whole}


@final
class _Writer:
    """Writes splits one after another, decoding as it goes; sound images alone."""

    def __init__(
        self,
        parts: dict[str, Listing],
        size: tuple[int, int],
        damages: dict[str, Damage],
        source_key: str,
        after_image: Progress,
    ) -> None:
        self.damages = damages
        self._parts, self._size, self._source_key, self._after_image = parts, size, source_key, after_image

    def write(self, file: IO[bytes]) -> None:
        """Fill the file; once more from its start where images turn out to be damaged, since it begins with a count."""
        while not self._try(file):
            file.seek(0)
            file.truncate()

    def _try(self, file: IO[bytes]) -> bool:
        """Whether as many images were written as the file says."""
        counts = {split: len(listing) - self.damages[split].count for split, listing in self._parts.items()}
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            shape = (sum(counts.values()), *self._size, 3)
            with _member(archive, "images", "|u1", shape) as stream:
                for split, listing in self._parts.items():
                    for image in decode(listing, self._size, torch.arange(len(listing)), self.damages[split]):
                        stream.write(image.pixels.permute(1, 2, 0).contiguous().numpy().tobytes())
                        self._after_image(1)
            if any(len(self._parts[split]) - self.damages[split].count != count for split, count in counts.items()):
                return False
            self._check_left()
            for name, array in self._beside().items():
                with _member(archive, name, array.dtype.str, array.shape) as stream:
                    stream.write(array.tobytes())
        return True

    def _sound(self, split: str) -> list[int]:
        return [row for row in range(len(self._parts[split])) if row not in self.damages[split].reasons]

    def _check_left(self) -> None:
        for split, listing in self._parts.items():
            labels = set(listing.labels.tolist())
            lost = labels - set(listing.labels[self._sound(split)].tolist())
            if lost:
                raise InputError(
                    f"{listing.where}: all images of {listing.classes[min(lost)]!r} are damaged: "
                    f"{'; '.join(self.damages[split].names)}"
                )

    def _beside(self) -> dict[str, np.ndarray[Any, Any]]:
        """What stands beside the images."""
        labels: list[int] = []
        names: list[str] = []
        splits: list[str] = []
        for split, listing in self._parts.items():
            sound = self._sound(split)
            labels += listing.labels[sound].tolist()
            names += [listing.store.name(int(listing.keys[row])) for row in sound]
            splits += [split] * len(sound)
        arrays = {"labels": np.array(labels, np.int64), "names": np.array(names)}
        first = next(iter(self._parts.values()))
        if not first.numbered:
            arrays["classes"] = np.array(first.classes)
        else:
            arrays["labels"] = np.array([int(name) for name in first.classes], np.int64)[arrays["labels"]]
        if self._source_key:
            arrays["source"] = np.array([self._source_key])
        return arrays if WHOLE in self._parts else arrays | {"split": np.array(splits)}


def packed_from(file: Path) -> str:
    """The `source_key` that a file was packed with; '' for none. Raises `InputError` where it is not an .npz."""
    with open_arrays(file, display_name(file)) as packed:
        return str(packed.read("source")[0]) if "source" in packed.names else ""


def _member(archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...]) -> IO[bytes]:
    """An array of the .npz, open behind its header; its values follow in C order."""
    stream = archive.open(zipfile.ZipInfo(f"{name}.npy", _DATE), "w", force_zip64=True)
    npy.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream
