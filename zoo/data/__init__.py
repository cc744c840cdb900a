"""Data to train on and to be measured on: folders, packed files, and data sets by name."""

from zoo.data.load import load_data, load_split
from zoo.data.named import dataset_names
from zoo.data.splits import Damage, DataSplits, ImageSplit, MemorySplit

__all__ = ["Damage", "DataSplits", "ImageSplit", "MemorySplit", "dataset_names", "load_data", "load_split"]
