"""Conformance kit: pytest classes that check a component against the contract of its kind.

In a test file, subclass the suite of the kind and name the component:

    from zoo_kit import EncoderTests

    class TestSparkle(EncoderTests):
        name = "sparkle"
        decoder = "bpd"

Without a test file: `zoo plugins check [DISTRIBUTION]`.
"""

from __future__ import annotations

from zoo.registry.components import default_registry
from zoo_kit.components import DecoderTests, EncoderTests, NeuronTests
from zoo_kit.distributions import (
    CatalogTests,
    CommandTests,
    ConverterTests,
    DatasetTests,
    EnergyModelTests,
    WeightTests,
)
from zoo_kit.models import BackboneTests, FamilyTests
from zoo_kit.suite import ComponentTests

__all__ = [
    "BackboneTests",
    "CatalogTests",
    "CommandTests",
    "ComponentTests",
    "ConverterTests",
    "DatasetTests",
    "DecoderTests",
    "EncoderTests",
    "EnergyModelTests",
    "FamilyTests",
    "NeuronTests",
    "WeightTests",
    "suites_of",
]

_NETWORKS = (BackboneTests, DecoderTests, EncoderTests, FamilyTests, NeuronTests)
_OTHERS = (CatalogTests, CommandTests, ConverterTests, DatasetTests, EnergyModelTests)
SUITES: dict[str, type[ComponentTests]] = {suite.kind: suite for suite in (*_NETWORKS, *_OTHERS)}
"""Kind of component → its suite; `WeightTests` asks for more than a catalog owes."""


def suites_of(distribution: str) -> dict[str, type[ComponentTests]]:
    """Make a test class for every component of an installed package, by class name `Test__KIND__NAME`.

    In a test file `globals().update(suites_of("zoo-sparkle"))` does without a class for each.
    """
    return {
        f"Test__{each.kind}__{each.name}": type("Suite", (SUITES[each.kind],), {"name": f"{distribution}:{each.name}"})
        for each in default_registry().components()
        if each.distribution == distribution
    }
