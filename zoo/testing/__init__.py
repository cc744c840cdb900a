"""The conformance kit: pytest classes that check whether a component keeps the contract of its kind.

In a test file, subclass the suite of the kind and name the component:

    from zoo.testing import EncoderTests

    class TestGray(EncoderTests):
        name = "gray"
        decoder = "gray"

Without a test file: `zoo plugins check [DISTRIBUTION]`. Needs pytest: `pip install 'has8-zoo[testing]'`.
"""

from __future__ import annotations

from zoo.testing.catalogs import CatalogTests, ConverterTests, WeightTests
from zoo.testing.coders import DecoderTests, EncoderTests
from zoo.testing.extensions import CommandTests, EnergyModelTests
from zoo.testing.models import BackboneTests, FamilyTests
from zoo.testing.neurons import NeuronTests
from zoo.testing.suite import ComponentTests

__all__ = [
    "BackboneTests",
    "CatalogTests",
    "CommandTests",
    "ComponentTests",
    "ConverterTests",
    "DecoderTests",
    "EncoderTests",
    "EnergyModelTests",
    "FamilyTests",
    "NeuronTests",
    "WeightTests",
]
