"""Data to train and measure on: folders, packed files, tables, arrays, and data sets by name."""

from zoo.data.datasets import ImageDataset as ImageDataset
from zoo.data.datasets import open_arrays as open_arrays
from zoo.data.datasets import open_folder as open_folder
from zoo.data.datasets import open_frames as open_frames
from zoo.data.load import DataOptions as DataOptions
from zoo.data.load import dataset_names as dataset_names
from zoo.data.load import load_data as load_data
from zoo.data.load import load_split as load_split
from zoo.data.load import pack as pack
from zoo.data.splits import DataSplits as DataSplits
from zoo.data.splits import ImageSplit as ImageSplit
