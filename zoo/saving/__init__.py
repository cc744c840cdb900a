"""A network as a folder that loads: its weights, its record, its config. Needs no Hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import attach

if TYPE_CHECKING:
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

_HOMES = {
    "ModelFolder": "zoo.saving.folder",
    "NOT_STATED": "zoo.saving.record",
    "Statement": "zoo.saving.record",
    "check_new_folder": "zoo.saving.folder",
    "check_tag": "zoo.saving.record",
    "describe_checkpoint": "zoo.saving.record",
    "fold": "zoo.saving.model",
    "make_folder": "zoo.saving.folder",
    "measure": "zoo.saving.record",
    "restate": "zoo.saving.record",
    "save": "zoo.saving.model",
}

__getattr__, __dir__ = attach(__name__, _HOMES)
