"""Data to train on and to be measured on: folders, packed files, tables, arrays, and data sets by name."""

from zoo.data.datasets import ImageDataset, open_arrays, open_folder
from zoo.data.libraries import dataset_names
from zoo.data.load import DataOptions, load_data, load_split, pack
from zoo.data.splits import Damage, DataSplits, ImageSplit, MemorySplit

__all__ = [
    "Damage",
    "DataOptions",
    "DataSplits",
    "ImageDataset",
    "ImageSplit",
    "MemorySplit",
    "dataset_names",
    "load_data",
    "load_split",
    "open_arrays",
    "open_folder",
    "pack",
]
