"""Data to train and measure on: folders, packed files, tables, arrays, and data sets by name."""

from zoo.data.datasets import RGB as RGB
from zoo.data.datasets import WHOLE as WHOLE
from zoo.data.datasets import ImageDataset as ImageDataset
from zoo.data.datasets import label_images as label_images
from zoo.data.datasets import open_arrays as open_arrays
from zoo.data.datasets import open_files as open_files
from zoo.data.datasets import open_folder as open_folder
from zoo.data.datasets import open_frames as open_frames
from zoo.data.datasets import stamp_files as stamp_files
from zoo.data.images import display_name as display_name
from zoo.data.images import read_file as read_file
from zoo.data.images import reading as reading
from zoo.data.images import subfolders as subfolders
from zoo.data.load import DataOptions as DataOptions
from zoo.data.load import dataset_names as dataset_names
from zoo.data.load import load_data as load_data
from zoo.data.load import load_split as load_split
from zoo.data.load import open_parts as open_parts
from zoo.data.load import pack as pack
from zoo.data.splits import DataSplits as DataSplits
from zoo.data.splits import ImageSplit as ImageSplit
from zoo.data.splits import split_of as split_of
