"""Contracts of encoders, decoders, neurons, backbones, families, converters and energy models.

Each is imported on first use: families need no torch, so that names are parsed and listed without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.contracts.backbone import Backbone as Backbone
    from zoo.contracts.backbone import BlockPlan as BlockPlan
    from zoo.contracts.backbone import ClassifierHead as ClassifierHead
    from zoo.contracts.backbone import FirstLayer as FirstLayer
    from zoo.contracts.backbone import PairBuilder as PairBuilder
    from zoo.contracts.classifier import FeatureInfo as FeatureInfo
    from zoo.contracts.classifier import ImageClassifier as ImageClassifier
    from zoo.contracts.converter import CheckpointFacts as CheckpointFacts
    from zoo.contracts.converter import Converted as Converted
    from zoo.contracts.converter import Converter as Converter
    from zoo.contracts.converter import HubFile as HubFile
    from zoo.contracts.converter import Stated as Stated
    from zoo.contracts.dataset import Dataset as Dataset
    from zoo.contracts.decoder import Decoder as Decoder
    from zoo.contracts.encoder import BINARY_LSB_FIRST as BINARY_LSB_FIRST
    from zoo.contracts.encoder import CONSTANT as CONSTANT
    from zoo.contracts.encoder import FRAMES as FRAMES
    from zoo.contracts.encoder import Encoder as Encoder
    from zoo.contracts.energy import EnergyModel as EnergyModel
    from zoo.contracts.energy import Operations as Operations
    from zoo.contracts.energy import Picojoules as Picojoules
    from zoo.contracts.energy import Prices as Prices
    from zoo.contracts.energy import SpikeRate as SpikeRate
    from zoo.contracts.energy import SynapticLayer as SynapticLayer
    from zoo.contracts.family import DEFAULT_IMAGE_SIZE as DEFAULT_IMAGE_SIZE
    from zoo.contracts.family import MAX_CLASSES as MAX_CLASSES
    from zoo.contracts.family import MAX_IMAGE_SIZE as MAX_IMAGE_SIZE
    from zoo.contracts.family import WITHOUT_SPIKES as WITHOUT_SPIKES
    from zoo.contracts.family import About as About
    from zoo.contracts.family import BuildRequest as BuildRequest
    from zoo.contracts.family import Components as Components
    from zoo.contracts.family import Family as Family
    from zoo.contracts.family import GrammarFamily as GrammarFamily
    from zoo.contracts.family import PublishedWeights as PublishedWeights
    from zoo.contracts.neuron import GRADED as GRADED
    from zoo.contracts.neuron import RADIX as RADIX
    from zoo.contracts.neuron import REAL as REAL
    from zoo.contracts.neuron import SIGNED as SIGNED
    from zoo.contracts.neuron import UNARY as UNARY
    from zoo.contracts.neuron import Neuron as Neuron
    from zoo.contracts.neuron import NeuronFactory as NeuronFactory
    from zoo.contracts.price import BINARY_DIGITS as BINARY_DIGITS
    from zoo.contracts.price import RANGE_STEP as RANGE_STEP
    from zoo.contracts.price import Price as Price
    from zoo.contracts.price import Work as Work

API_VERSION = 1
"""Components declare `api_version = 1`; another major version is refused with its reason."""

_MODULES = {
    "backbone": ("Backbone", "BlockPlan", "ClassifierHead", "FirstLayer", "PairBuilder"),
    "classifier": ("FeatureInfo", "ImageClassifier"),
    "converter": ("CheckpointFacts", "Converted", "Converter", "HubFile", "Stated"),
    "dataset": ("Dataset",),
    "decoder": ("Decoder",),
    "encoder": ("BINARY_LSB_FIRST", "CONSTANT", "FRAMES", "Encoder"),
    "energy": ("EnergyModel", "Operations", "Picojoules", "Prices", "SpikeRate", "SynapticLayer"),
    "family": (
        *("DEFAULT_IMAGE_SIZE", "MAX_CLASSES", "MAX_IMAGE_SIZE", "WITHOUT_SPIKES"),
        *("About", "BuildRequest", "Components", "Family", "GrammarFamily", "PublishedWeights"),
    ),
    "neuron": ("GRADED", "RADIX", "REAL", "SIGNED", "UNARY", "Neuron", "NeuronFactory"),
    "price": ("BINARY_DIGITS", "RANGE_STEP", "Price", "Work"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
__all__ = ["API_VERSION", *_MODULE_OF]  # noqa: PLE0604 # all are strings


def __getattr__(name: str) -> Any:
    """Import a contract on first use (PEP 562)."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'zoo.contracts' has no attribute {name!r}")
    return getattr(importlib.import_module(f"zoo.contracts.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
