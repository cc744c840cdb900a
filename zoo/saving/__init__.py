"""A network as a folder that loads: its weights, its record, its config. Needs no Hub."""

from zoo.saving.folder import ModelFolder, check_new_folder, make_folder
from zoo.saving.model import fold, save
from zoo.saving.record import NOT_STATED, Statement, check_tag, describe_checkpoint, measure, restate

__all__ = [
    "NOT_STATED",
    "ModelFolder",
    "Statement",
    "check_new_folder",
    "check_tag",
    "describe_checkpoint",
    "fold",
    "make_folder",
    "measure",
    "restate",
    "save",
]
