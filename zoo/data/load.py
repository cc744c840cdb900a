"""From what a user names to splits of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from zoo.data.decode import StreamedSplit, decode_split
from zoo.data.divide import divide
from zoo.data.folders import holds_images, list_classes, name_some, subfolders
from zoo.data.image_list import Listing
from zoo.data.images import display_name
from zoo.data.named import dataset_names, default_root, list_named
from zoo.data.packed import list_packed
from zoo.data.size import choose_size
from zoo.data.splits import DataSplits, ImageSplit
from zoo.errors import InputError, check_count, suggest

Split = Literal["train", "val"]

_GIB = 2**30

_CALLED: dict[Split, tuple[str, ...]] = {"train": ("train",), "val": ("val", "valid", "validation", "test")}
"""What a split's folder or .npz may be called, first come first served: `test` is used where there is no `val`."""


@dataclass(frozen=True)
class _Source:
    """What the user named, and how to get at it; `load_data` says what each means."""

    named: str | Path
    root: Path | None
    seed: int
    download: bool

    def listings(self, splits: Sequence[Split], whole: bool) -> list[Listing]:
        """Those splits; what is not divided is given as it is where it may be `whole`, else divided."""
        if isinstance(self.named, str) and self.named in dataset_names():
            root = (self.root or default_root()).expanduser()
            return list_named(self.named, splits, root, self.seed, self.download)
        path = Path(self.named).expanduser()
        if not path.exists():
            known = suggest(str(self.named), dataset_names())
            raise InputError(f"{display_name(path)} is not a folder, an .npz file or a data set by name{known}")
        if path.is_file():
            return self._undivided(list_packed(path), splits, whole)
        packed, folders = _packed_splits(path), _split_folders(path)
        if packed and folders:
            raise InputError(f"{display_name(path)} holds splits both as .npz and as folders; name one of them alone")
        if packed:
            return [list_packed(_find(packed, split, path)) for split in splits]
        if folders:
            return [list_classes(_find(folders, split, path)) for split in splits]
        return self._undivided(list_classes(path), splits, whole)

    def _undivided(self, listing: Listing, splits: Sequence[Split], whole: bool) -> list[Listing]:
        if whole:
            return [listing] * len(splits)
        _check_classes(listing)
        return list(divide(listing, self.seed))


def load_data(
    source: str | Path,
    *,
    image_size: int | None = None,
    root: Path | None = None,
    split_seed: int = 3407,
    max_damaged: int = 100,
    download: bool = True,
    in_memory_bytes: int = 2 * _GIB,
) -> DataSplits:
    """What to train on and what to measure on.

    `source` is one of

    - a name of `dataset_names()`; a folder of that name is `./cifar10`;
    - a folder with `train/` and `val/` (or `valid/`, `validation/`, `test/`), each with a folder a class;
    - a folder with a folder a class, which is divided 80/20, class by class;
    - a folder with `train.npz` and `val.npz`, or one .npz, which is divided 80/20: arrays `jpeg` (bytes), `offsets`,
      `labels`, `classes`, and maybe `numbers`.

    Every image becomes RGB, upright, 8 bits a channel, as `zoo predict` reads it. Square images
    of one size that is not over 224 stay as they are. All others have their shorter side resized and their centre
    cropped: to 224 where a side of any of them is longer, else to the smallest shorter side.

    Args:
        source: the data.
        image_size: pixels a side that all images are brought to instead.
        root: where data sets by name are kept; None for ZOO_DATA, else ~/.cache/has8-zoo/datasets.
        split_seed: of the division 80/20.
        max_damaged: how many damaged images are left out in each split.
        download: whether a data set by name may be downloaded.
        in_memory_bytes: up to how many both splits are decoded once and kept in memory, else whenever they are read.

    Raises:
        InputError: there is no such data, they hold one class, no images or an empty class, val has classes that train
            lacks, a file is broken, or too many images are damaged.
    """
    train, val = _Source(source, root, split_seed, download).listings(("train", "val"), whole=False)
    _check_classes(train)
    val = val.relabel(train.classes, train.where)
    size = choose_size([train, val], image_size)
    held = DataSplits(*_hold([train, val], size, max_damaged, in_memory_bytes))
    _check_left(train, held.train)
    return held


def load_split(
    source: str | Path,
    split: Split,
    *,
    image_size: int | None = None,
    root: Path | None = None,
    split_seed: int = 3407,
    max_damaged: int = 100,
    download: bool = True,
    in_memory_bytes: int = 2 * _GIB,
    classes: Sequence[str] | None = None,
) -> ImageSplit:
    """One split, as `load_data` gives it; one folder of class folders and one .npz are taken whole.

    Args:
        source: the data.
        split: `train` or `val`.
        image_size: as for `load_data`.
        root: as for `load_data`.
        split_seed: as for `load_data`.
        max_damaged: as for `load_data`.
        download: as for `load_data`.
        in_memory_bytes: as for `load_data`.
        classes: label order of the result, which may hold more classes than the data; None for the data's own.

    Raises:
        InputError: as for `load_data`, or the data have a class that `classes` lacks.
    """
    if split not in _CALLED:
        raise InputError(f"unknown split {split!r}; valid: {', '.join(_CALLED)}")
    [listing] = _Source(source, root, split_seed, download).listings((split,), whole=True)
    if classes is None:
        _check_classes(listing)
    else:
        listing = listing.relabel(classes, "the model")
    [held] = _hold([listing], choose_size([listing], image_size), max_damaged, in_memory_bytes)
    return held


def _hold(
    listings: Sequence[Listing], size: tuple[int, int], max_damaged: int, in_memory_bytes: int
) -> list[ImageSplit]:
    """In memory where all of them together fit, else decoded whenever they are read."""
    limit = check_count("max_damaged", max_damaged, 0, 10**9)
    needed = sum(map(len, listings)) * 3 * size[0] * size[1]
    if needed > in_memory_bytes:
        return [StreamedSplit(listing, size, limit) for listing in listings]
    return [decode_split(listing, size, limit) for listing in listings]


def _check_classes(listing: Listing) -> None:
    """Raise `InputError` where there is nothing to tell apart, or a class without an image."""
    if len(listing.classes) < 2:
        only = f" ({name_some(listing.classes)})" if listing.classes else ""
        raise InputError(f"{listing.where} has {len(listing.classes)} class{only}; at least two are needed")
    counts = torch.bincount(listing.labels, minlength=len(listing.classes))
    empty = [name for name, count in zip(listing.classes, counts.tolist(), strict=True) if not count]
    if empty:
        raise InputError(f"{listing.where} has no images of {name_some(empty)}")


def _check_left(listing: Listing, split: ImageSplit) -> None:
    """Raise `InputError` where all images of a class were damaged."""
    lost = sorted(set(listing.labels.tolist()) - set(split.labels.tolist()))
    if lost:
        names = name_some([listing.classes[label] for label in lost])
        raise InputError(f"{listing.where}: all images of {names} are damaged: {'; '.join(split.damage.names)}")


def _packed_splits(folder: Path) -> dict[str, Path]:
    found = {name: folder / f"{name}.npz" for names in _CALLED.values() for name in names}
    return {name: path for name, path in found.items() if path.is_file()}


def _split_folders(folder: Path) -> dict[str, Path]:
    """Folders called as splits are; beside others, one with images in itself is a class, such as train and bus."""
    called = {name for names in _CALLED.values() for name in names}
    there = subfolders(folder)
    alone = called.issuperset(there)
    return {name: folder / name for name in there if name in called and (alone or not holds_images(folder / name))}


def _find(found: dict[str, Path], split: Split, folder: Path) -> Path:
    for name in _CALLED[split]:
        if name in found:
            return found[name]
    there = name_some([path.name for path in found.values()])
    only = next(iter(found.values()))
    raise InputError(
        f"{display_name(folder)} has {there}, but no {split} split, which may be called {', '.join(_CALLED[split])}; "
        f"name {display_name(only)} itself to have it divided 80/20"
    )
