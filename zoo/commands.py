"""What packages import whose commands `zoo` takes in: options, output, folders of models, files.

Each name is imported when it is first used, so that a command's help needs no torch. Names and behaviour here are
covered by `zoo.contracts.API_VERSION`, as those of `zoo.blocks` are.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.catalog.records import Conversion as Conversion
    from zoo.catalog.records import StoredWeight as StoredWeight
    from zoo.cli.options import AnyModel as AnyModel
    from zoo.cli.options import ImageSize as ImageSize
    from zoo.cli.options import Json as Json
    from zoo.cli.options import key_values as key_values
    from zoo.cli.options import model_reference as model_reference
    from zoo.cli.output import counted as counted
    from zoo.cli.output import print_rows as print_rows
    from zoo.cli.output import say as say
    from zoo.files import folder_beside as folder_beside
    from zoo.files import replace_bytes as replace_bytes
    from zoo.files import replace_file as replace_file
    from zoo.models.factory import Places as Places
    from zoo.models.factory import describe_model as describe_model
    from zoo.models.factory import open_model as open_model
    from zoo.progress import progress as progress
    from zoo.publishing.saving import NOT_STATED as NOT_STATED
    from zoo.publishing.saving import ModelFolder as ModelFolder
    from zoo.publishing.saving import build_folder as build_folder
    from zoo.publishing.saving import check_new_folder as check_new_folder
    from zoo.publishing.saving import rebuild as rebuild
    from zoo.registry.components import Registry as Registry
    from zoo.registry.components import default_registry as default_registry
    from zoo.registry.installing import import_plugin as import_plugin
    from zoo.registry.installing import missing_extra as missing_extra
    from zoo.weights.hub import LIBRARY as LIBRARY
    from zoo.weights.hub import Hub as Hub
    from zoo.weights.load import check_fit as check_fit
    from zoo.weights.load import default_labels as default_labels
    from zoo.weights.load import pack as pack
    from zoo.weights.load import parse_weight as parse_weight
    from zoo.weights.load import read_plain_file as read_plain_file
    from zoo.weights.load import stated_preprocessing as stated_preprocessing

_NAMES = {
    "zoo.catalog.records": ("Conversion", "StoredWeight"),
    "zoo.cli.options": ("AnyModel", "ImageSize", "Json", "key_values", "model_reference"),
    "zoo.cli.output": ("counted", "print_rows", "say"),
    "zoo.files": ("folder_beside", "replace_bytes", "replace_file"),
    "zoo.models.factory": ("Places", "describe_model", "open_model"),
    "zoo.progress": ("progress",),
    "zoo.publishing.saving": ("NOT_STATED", "ModelFolder", "build_folder", "check_new_folder", "rebuild"),
    "zoo.registry.components": ("Registry", "default_registry"),
    "zoo.registry.installing": ("import_plugin", "missing_extra"),
    "zoo.weights.hub": ("LIBRARY", "Hub"),
    "zoo.weights.load": (
        "check_fit",
        "default_labels",
        "pack",
        "parse_weight",
        "read_plain_file",
        "stated_preprocessing",
    ),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo.commands' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
