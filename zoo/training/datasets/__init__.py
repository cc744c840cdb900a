"""Data to train on and to be measured on: folders, packed files, and data sets by name."""

from zoo.training.datasets.loading import load_data, load_split
from zoo.training.datasets.named import dataset_names
from zoo.training.datasets.splits import Damage, DataSplits, ImageSplit, MemorySplit

__all__ = ["Damage", "DataSplits", "ImageSplit", "MemorySplit", "dataset_names", "load_data", "load_split"]
