"""What an encoder, decoder, neuron, backbone, family, converter and model of energy must offer.

Families are described without torch, so that names can be parsed and listed without loading it;
the tensor contracts are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from zoo.contracts.family import About, BuildRequest, Components, Family, GrammarFamily, PublishedWeights
from zoo.contracts.price import BINARY_DIGITS, RANGE_STEP, Price, Work

if TYPE_CHECKING:
    from zoo.contracts.backbone import Backbone, BlockPlan, ClassifierHead, PairBuilder
    from zoo.contracts.classifier import FeatureInfo, ImageClassifier
    from zoo.contracts.converter import Converted, Converter, HubFile, Stated
    from zoo.contracts.decoder import Decoder
    from zoo.contracts.encoder import BINARY_LSB_FIRST, Encoder
    from zoo.contracts.energy import EnergyModel, Operations, Picojoules, Prices
    from zoo.contracts.neuron import Neuron, NeuronFactory

API_VERSION = 1
"""Components declare `api_version = 1`; another major version is refused with its reason."""

__all__ = [
    "API_VERSION",
    "BINARY_DIGITS",
    "BINARY_LSB_FIRST",
    "RANGE_STEP",
    "About",
    "Backbone",
    "BlockPlan",
    "BuildRequest",
    "ClassifierHead",
    "Components",
    "Converted",
    "Converter",
    "Decoder",
    "Encoder",
    "EnergyModel",
    "Family",
    "FeatureInfo",
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
    "Work",
]

_HOMES = {
    "Converted": "zoo.contracts.converter",
    "Converter": "zoo.contracts.converter",
    "HubFile": "zoo.contracts.converter",
    "Stated": "zoo.contracts.converter",
    "EnergyModel": "zoo.contracts.energy",
    "Operations": "zoo.contracts.energy",
    "Picojoules": "zoo.contracts.energy",
    "Prices": "zoo.contracts.energy",
    "BINARY_LSB_FIRST": "zoo.contracts.encoder",
    "Backbone": "zoo.contracts.backbone",
    "BlockPlan": "zoo.contracts.backbone",
    "ClassifierHead": "zoo.contracts.backbone",
    "Decoder": "zoo.contracts.decoder",
    "Encoder": "zoo.contracts.encoder",
    "FeatureInfo": "zoo.contracts.classifier",
    "ImageClassifier": "zoo.contracts.classifier",
    "Neuron": "zoo.contracts.neuron",
    "NeuronFactory": "zoo.contracts.neuron",
    "PairBuilder": "zoo.contracts.backbone",
}


def __getattr__(name: str) -> Any:
    """Import a contract of tensors when it is first used, so that names are parsed without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo.contracts' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
