"""The conformance kit: whether a component keeps the contract of its kind, and what to do where it does not.

In a test file, subclass the suite of the kind and name the component:

    from zoo.testing import EncoderTests

    class TestGray(EncoderTests):
        name = "gray"
        decoder = "gray"

Without a test file: `zoo plugins check [DISTRIBUTION]`, or `check_component` and `check_distribution`.
Nothing here needs pytest; `pip install 'has8-zoo[testing]'` brings it for those who write test files.
"""

from __future__ import annotations

from zoo.testing.backbones import BackboneTests
from zoo.testing.catalogs import CatalogTests
from zoo.testing.component import ComponentTests
from zoo.testing.converters import ConverterTests
from zoo.testing.decoders import DecoderTests
from zoo.testing.encoders import EncoderTests
from zoo.testing.extensions import CommandTests, EnergyModelTests
from zoo.testing.families import FamilyTests
from zoo.testing.neurons import NeuronTests
from zoo.testing.outcome import CheckResult, ConformanceError, NotApplicable, Outcome
from zoo.testing.runner import check_component, check_distribution, run_check, run_checks
from zoo.testing.weights import WeightTests

__all__ = [
    "BackboneTests",
    "CatalogTests",
    "CheckResult",
    "CommandTests",
    "ComponentTests",
    "ConformanceError",
    "ConverterTests",
    "DecoderTests",
    "EncoderTests",
    "EnergyModelTests",
    "FamilyTests",
    "NeuronTests",
    "NotApplicable",
    "Outcome",
    "WeightTests",
    "check_component",
    "check_distribution",
    "run_check",
    "run_checks",
]
