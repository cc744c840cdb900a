"""What an encoder, decoder, neuron, backbone, family and converter must offer.

Families are described without torch, so that names can be parsed and listed without loading it;
the tensor contracts are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.contracts.converter import Converted, Converter
from zoo.contracts.family import About, BuildRequest, Components, Family, GrammarFamily
from zoo.contracts.price import Price, Work
from zoo.lazy import attach

if TYPE_CHECKING:
    from zoo.contracts.classifier import (
        Backbone,
        BlockPlan,
        ClassifierHead,
        Decoder,
        Encoder,
        FeatureInfo,
        ImageClassifier,
        Neuron,
        NeuronFactory,
        PairBuilder,
    )

API_VERSION = 1
"""Components declare `api_version = 1`; another major version is refused with its reason."""

__all__ = [
    "API_VERSION",
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
    "Family",
    "FeatureInfo",
    "GrammarFamily",
    "ImageClassifier",
    "Neuron",
    "NeuronFactory",
    "PairBuilder",
    "Price",
    "Work",
]

_TENSOR_CONTRACTS = (
    "Backbone",
    "BlockPlan",
    "ClassifierHead",
    "Decoder",
    "Encoder",
    "FeatureInfo",
    "ImageClassifier",
    "Neuron",
    "NeuronFactory",
    "PairBuilder",
)

__getattr__, __dir__ = attach(__name__, dict.fromkeys(_TENSOR_CONTRACTS, "zoo.contracts.classifier"))
