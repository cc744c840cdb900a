"""What a command of a package needs to open networks, and to write them as folders. Imports torch."""

from zoo.catalog.records import Conversion as Conversion
from zoo.catalog.records import StoredWeight as StoredWeight
from zoo.models.factory import DEFAULT_PLACES as DEFAULT_PLACES
from zoo.models.factory import Places as Places
from zoo.models.factory import describe_model as describe_model
from zoo.models.factory import open_model as open_model
from zoo.profiling.arithmetic import FLOAT32 as FLOAT32
from zoo.profiling.arithmetic import SOURCE as SOURCE
from zoo.profiling.recorder import OperationCounts as OperationCounts
from zoo.profiling.report import Profile as Profile
from zoo.publishing.saving import NOT_STATED as NOT_STATED
from zoo.publishing.saving import ModelFolder as ModelFolder
from zoo.publishing.saving import build_folder as build_folder
from zoo.publishing.saving import check_new_folder as check_new_folder
from zoo.publishing.saving import rebuild as rebuild
from zoo.registry.components import OURS as OURS
from zoo.weights.hub import Hub as Hub
from zoo.weights.load import check_fit as check_fit
from zoo.weights.load import default_labels as default_labels
from zoo.weights.load import pack as pack
from zoo.weights.load import parse_weight as parse_weight
from zoo.weights.load import read_plain_file as read_plain_file
from zoo.weights.load import stated_preprocessing as stated_preprocessing
