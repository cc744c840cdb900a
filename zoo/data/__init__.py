"""Data to train and measure on: folders, packed files, tables, arrays, and data sets by name."""

from zoo.data.datasets import ImageDataset, open_arrays, open_folder
from zoo.data.libraries import dataset_names
from zoo.data.load import DataOptions, load_data, load_split, pack
from zoo.data.splits import DataSplits, ImageSplit

__all__ = [
    "DataOptions",
    "DataSplits",
    "ImageDataset",
    "ImageSplit",
    "dataset_names",
    "load_data",
    "load_split",
    "open_arrays",
    "open_folder",
    "pack",
]
