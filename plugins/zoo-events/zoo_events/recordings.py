"""Recordings of event cameras by name, from the files that their publishers give, in frames that are kept."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, cast
from zipfile import BadZipFile

import numpy as np
from tonic.io import get_aer_events_from_file, make_structured_array, read_aedat_header_from_file, read_mnist_file

from zoo.commands import replace_file
from zoo.contracts import Dataset
from zoo.data import WHOLE, ImageDataset, display_name, label_images, reading, stamp_files
from zoo.errors import InputError, writing_to
from zoo_events.frames import Array, to_frames

FRAMES = 10
"""T, if the name says nothing else."""
CACHE = "frames"
"""Folder of kept frames, below that of the data set."""

FORMAT = 2
"""Version of kept frames: those of another are made again."""

_FIELDS = np.dtype([("x", int), ("y", int), ("t", int), ("p", int)])
_REAL_TIMES = np.dtype([("x", int), ("y", int), ("t", float), ("p", int)])
_REST = re.compile(r"([1-9][0-9]{0,3})?(?:,?(events|time))?")


def structured(x: Any, y: Any, t: Any, p: Any) -> Array:
    """Make events of four rows of numbers; times stay whole or real."""
    fields = _REAL_TIMES if np.asarray(t).dtype.kind == "f" else _FIELDS
    return cast(Array, make_structured_array(x, y, t, p, dtype=fields))


def read_bin(file: Path) -> Array:
    """Read a .bin of N-MNIST and N-Caltech101."""
    return cast(Array, read_mnist_file(str(file), _FIELDS))


def read_aedat(file: Path) -> Array:
    """Read an AEDAT 2.0 of a DVS128, as CIFAR10-DVS has them; turned upright as spikingjelly turns them."""
    version, start, *_ = read_aedat_header_from_file(str(file))
    raw = get_aer_events_from_file(str(file), version, start)
    address = raw["address"].astype(np.int64)
    x, y, off = 127 - (address >> 8 & 0x7F), 127 - (address >> 1 & 0x7F), address & 1
    return cast(Array, make_structured_array(x, y, raw["timeStamp"].astype(np.int64), 1 - off, dtype=_FIELDS))


def read_npz(file: Path) -> Array:
    """Read an .npz with `x`, `y`, `t`, `p`, as spikingjelly writes all sets."""
    with np.load(file, allow_pickle=False) as stored:
        return structured(*(stored[axis] for axis in "xytp"))


def read_npy(file: Path) -> Array:
    """Read an .npy with rows of x, y, p and t in milliseconds, as tonic's DVS128 Gesture has them."""
    x, y, p, t = np.load(file, allow_pickle=False).T
    return structured(x, y, t, p)


_READERS: Mapping[str, Callable[[Path], Array]] = {
    ".bin": read_bin,
    ".aedat": read_aedat,
    ".npz": read_npz,
    ".npy": read_npy,
}


class Recordings(Dataset):
    """`NAME`, `NAME:T` or `NAME:T,time`: T frames of equally many events, or of equal time.

    Attributes:
        name: folder below the root.
        width, height: pixels of the sensor.
        publisher: the address of the files.
        splits: folder of `train` and of `val`; none if the set is not divided.
    """

    api_version = 1
    name: ClassVar[str]
    width: ClassVar[int]
    height: ClassVar[int]
    publisher: ClassVar[str]
    splits: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @abstractmethod
    def class_of(self, file: Path) -> str:
        """Name the class of a recording; '' for a file that is none."""

    def open(self, rest: str, wanted: Sequence[str], root: Path) -> Mapping[str, ImageDataset]:
        stated = _REST.fullmatch(rest)
        if stated is None:
            raise InputError(f"{self.name}:{rest} is not of the form {self.name}:T or {self.name}:T,time")
        count, by = int(stated[1] or FRAMES), cast(Literal["events", "time"], stated[2] or "events")
        folder = root / self.name
        parts = {split: [folder / name for name in self.splits.get(split, ())] for split in wanted}
        if not self.splits:
            parts = {WHOLE: [folder]}
        return {split: self._open_part(folder, places, count, by) for split, places in parts.items()}

    def _open_part(
        self, folder: Path, places: Sequence[Path], count: int, by: Literal["events", "time"]
    ) -> ImageDataset:
        files = sorted(file for place in places for file in place.rglob("*") if file.suffix in _READERS)
        files = [file for file in files if CACHE not in file.relative_to(folder).parts and self.class_of(file)]
        if not files:
            wanted = " or ".join(display_name(place) for place in places)
            raise InputError(f"there are no recordings of {self.name} in {wanted}; unpack them there: {self.publisher}")
        classes = _in_order({self.class_of(file) for file in files})
        labels = [classes.index(self.class_of(file)) for file in files]
        names = [f"{self.class_of(file)}/{file.relative_to(folder).as_posix()}" for file in files]

        def stored(row: int) -> Array:
            return self._frames(files[row], folder, count, by)

        where = f"{display_name(folder)}, {count} frames of equal {by}"
        data = label_images(stored, len(files), np.array(labels), classes, names, where)
        return replace(data, axes=(count, 2), stamp=lambda row: stamp_files([files[row]]))

    def _frames(self, file: Path, folder: Path, count: int, by: Literal["events", "time"]) -> Array:
        """Read the kept frames of a recording, or make and keep them."""
        below = file.relative_to(folder)
        kept = folder / CACHE / f"{count}-{by}" / below.with_name(f"{below.name}.npz")
        state = file.stat()
        key = np.array([FORMAT, state.st_size, state.st_mtime_ns, count, self.height, self.width])
        frames = _read_kept(kept, key)
        if frames is not None:
            return frames
        with reading(display_name(file), "download it again"):
            frames = to_frames(_READERS[file.suffix](file), self.width, self.height, count, by)
        with writing_to(kept):
            replace_file(kept, partial(np.savez, frames=frames, key=key))
        return frames


def _read_kept(file: Path, key: Array) -> Array | None:
    """Return kept frames; None if there are none, they are of something else, or the file is damaged."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            return cast(Array, stored["frames"]) if np.array_equal(stored["key"], key) else None
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):
        return None


def _in_order(classes: Iterable[str]) -> tuple[str, ...]:
    """Sort names of classes, numbers by their value."""
    return tuple(sorted(classes, key=lambda name: (int(name) if name.isdecimal() else -1, name)))


class Cifar10Dvs(Recordings):
    """CIFAR10-DVS (doi:10.3389/fnins.2017.00309): a folder a class, of .aedat, or of spikingjelly's .npz."""

    name = "cifar10dvs"
    width = height = 128
    publisher = "https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671"

    def class_of(self, file: Path) -> str:
        return file.parent.name


class NCaltech101(Recordings):
    """N-Caltech101 (doi:10.3389/fnins.2015.00437): a folder a class, of .bin; without the background's."""

    name = "ncaltech101"
    width, height = 240, 180
    publisher = "https://www.garrickorchard.com/datasets/n-caltech101"

    def class_of(self, file: Path) -> str:
        return "" if file.parent.name == "BACKGROUND_Google" else file.parent.name


class NMnist(Recordings):
    """N-MNIST (doi:10.3389/fnins.2015.00437): Train and Test, in each a folder a digit, of .bin."""

    name = "nmnist"
    width = height = 34
    publisher = "https://www.garrickorchard.com/datasets/n-mnist"
    splits: ClassVar[Mapping[str, tuple[str, ...]]] = {"train": ("Train", "train"), "val": ("Test", "test")}

    def class_of(self, file: Path) -> str:
        return file.parent.name


class Dvs128Gesture(Recordings):
    """DVS128 Gesture (doi:10.1109/CVPR.2017.781), cut by gesture: tonic's .npy or spikingjelly's .npz."""

    name = "dvs128gesture"
    width = height = 128
    publisher = "https://tonic.readthedocs.io, DVSGesture, has its addresses"
    splits: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "train": ("ibmGestureTrain", "train"),
        "val": ("ibmGestureTest", "test"),
    }

    def class_of(self, file: Path) -> str:
        if file.suffix == ".npy":  # user01_led/3.npy
            return file.stem if file.stem.isdecimal() else ""
        return file.parent.name
