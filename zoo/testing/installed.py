"""Test classes for everything that an installed distribution offers; `zoo plugins check` runs them."""

from __future__ import annotations

from zoo import testing
from zoo.registry import default_registry


def suites_of(distribution: str) -> dict[str, type]:
    """Make a test class for every component of an installed distribution, by class name `Test__KIND__NAME`."""
    suites = {suite.kind: suite for suite in (getattr(testing, name) for name in testing.__all__)}
    suites["catalog"] = testing.CatalogTests  # WeightTests asks for more than a catalog owes
    return {
        f"Test__{each.kind}__{each.name}": type("Suite", (suites[each.kind],), {"name": f"{distribution}:{each.name}"})
        for each in default_registry().components()
        if each.distribution == distribution
    }
