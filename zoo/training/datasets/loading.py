"""`load_data` and `load_split`: from what a user names to splits of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from zoo.training.datasets.decoding import StreamedSplit, decode_split
from zoo.training.datasets.listing import Listing
from zoo.training.datasets.packed import list_packed
from zoo.training.datasets.sizing import choose_size
from zoo.training.datasets.splits import DataSplits, ImageSplit

GIB = 2**30


def dataset_names() -> tuple[str, ...]:
    """Data sets that DATA may name."""
    return ()


def load_data(
    source: str | Path,
    *,
    image_size: int | None = None,
    root: Path | None = None,
    split_seed: int = 3407,
    max_damaged: int = 100,
    download: bool = True,
    in_memory_bytes: int = 2 * GIB,
) -> DataSplits:
    raise NotImplementedError


def load_split(
    source: str | Path,
    split: Literal["train", "val"],
    *,
    image_size: int | None = None,
    root: Path | None = None,
    split_seed: int = 3407,
    max_damaged: int = 100,
    download: bool = True,
    in_memory_bytes: int = 2 * GIB,
    classes: Sequence[str] | None = None,
) -> ImageSplit:
    listing = list_packed(Path(source))
    if classes is not None:
        listing = listing.relabel(classes, "the model")
    size = choose_size([listing], image_size)
    return hold([listing], size, max_damaged, in_memory_bytes)[0]


def hold(
    listings: Sequence[Listing], size: tuple[int, int], max_damaged: int, in_memory_bytes: int
) -> list[ImageSplit]:
    """The splits in memory where all of them together fit, else decoded whenever they are read."""
    needed = sum(map(len, listings)) * 3 * size[0] * size[1]
    if needed > in_memory_bytes:
        return [StreamedSplit(listing, size, max_damaged) for listing in listings]
    return [decode_split(listing, size, max_damaged) for listing in listings]
