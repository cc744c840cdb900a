"""Data to train on and to be measured on: folders, packed files, and data sets by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import attach

if TYPE_CHECKING:
    from zoo.data.load import load_data, load_split
    from zoo.data.named import dataset_names
    from zoo.data.splits import Damage, DataSplits, ImageSplit, MemorySplit

__all__ = [
    "Damage",
    "DataSplits",
    "ImageSplit",
    "MemorySplit",
    "dataset_names",
    "load_data",
    "load_split",
]

_HOMES = {
    "Damage": "zoo.data.splits",
    "DataSplits": "zoo.data.splits",
    "ImageSplit": "zoo.data.splits",
    "MemorySplit": "zoo.data.splits",
    "dataset_names": "zoo.data.named",
    "load_data": "zoo.data.load",
    "load_split": "zoo.data.load",
}

__getattr__, __dir__ = attach(__name__, _HOMES)
