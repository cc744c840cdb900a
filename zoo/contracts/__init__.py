"""Contracts of encoders, decoders, neurons, backbones, families, converters and energy models.

Families need no torch, so that names are parsed and listed without it; the others are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from zoo.contracts.family import (
    DEFAULT_IMAGE_SIZE,
    MAX_CLASSES,
    MAX_IMAGE_SIZE,
    WITHOUT_SPIKES,
    About,
    BuildRequest,
    Components,
    Family,
    GrammarFamily,
    PublishedWeights,
)
from zoo.contracts.price import BINARY_DIGITS, RANGE_STEP, Price, Work

if TYPE_CHECKING:
    from zoo.contracts.backbone import Backbone, BlockPlan, ClassifierHead, FirstLayer, PairBuilder
    from zoo.contracts.classifier import FeatureInfo, ImageClassifier
    from zoo.contracts.converter import CheckpointFacts, Converted, Converter, HubFile, Stated
    from zoo.contracts.dataset import Dataset
    from zoo.contracts.decoder import Decoder
    from zoo.contracts.encoder import BINARY_LSB_FIRST, CONSTANT, FRAMES, Encoder
    from zoo.contracts.energy import EnergyModel, Operations, Picojoules, Prices, SynapticLayer
    from zoo.contracts.neuron import GRADED, RADIX, SIGNED, UNARY, Neuron, NeuronFactory

API_VERSION = 1
"""Components declare `api_version = 1`; another major version is refused with its reason."""

__all__ = [
    "API_VERSION",
    "BINARY_DIGITS",
    "BINARY_LSB_FIRST",
    "CONSTANT",
    "DEFAULT_IMAGE_SIZE",
    "FRAMES",
    "GRADED",
    "MAX_CLASSES",
    "MAX_IMAGE_SIZE",
    "RADIX",
    "RANGE_STEP",
    "SIGNED",
    "UNARY",
    "WITHOUT_SPIKES",
    "About",
    "Backbone",
    "BlockPlan",
    "BuildRequest",
    "CheckpointFacts",
    "ClassifierHead",
    "Components",
    "Converted",
    "Converter",
    "Dataset",
    "Decoder",
    "Encoder",
    "EnergyModel",
    "Family",
    "FeatureInfo",
    "FirstLayer",
    "GrammarFamily",
    "HubFile",
    "ImageClassifier",
    "Neuron",
    "NeuronFactory",
    "Operations",
    "PairBuilder",
    "Picojoules",
    "Price",
    "Prices",
    "PublishedWeights",
    "Stated",
    "SynapticLayer",
    "Work",
]


_MODULES = {
    "backbone": ("Backbone", "BlockPlan", "ClassifierHead", "FirstLayer", "PairBuilder"),
    "classifier": ("FeatureInfo", "ImageClassifier"),
    "converter": ("CheckpointFacts", "Converted", "Converter", "HubFile", "Stated"),
    "dataset": ("Dataset",),
    "decoder": ("Decoder",),
    "encoder": ("BINARY_LSB_FIRST", "CONSTANT", "FRAMES", "Encoder"),
    "energy": ("EnergyModel", "Operations", "Picojoules", "Prices", "SynapticLayer"),
    "neuron": ("GRADED", "RADIX", "SIGNED", "UNARY", "Neuron", "NeuronFactory"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a contract on first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'zoo.contracts' has no attribute {name!r}")
    return getattr(importlib.import_module(f"zoo.contracts.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
