"""Runs the suites without pytest: of one component, or of everything that a distribution offers."""

from __future__ import annotations

from collections.abc import Iterator

from zoo.errors import UnknownComponentError, shorten, suggest
from zoo.registry import NOTEBOOK, Component, Registry, default_registry
from zoo.testing.backbones import BackboneTests
from zoo.testing.catalogs import CatalogTests
from zoo.testing.component import PREFIX, ComponentTests, checks_of, full_name
from zoo.testing.converters import ConverterTests
from zoo.testing.decoders import DecoderTests
from zoo.testing.encoders import EncoderTests
from zoo.testing.extensions import CommandTests, EnergyModelTests
from zoo.testing.families import FamilyTests
from zoo.testing.neurons import NeuronTests
from zoo.testing.outcome import CheckResult, ConformanceError, NotApplicable, Outcome

SUITES: dict[str, type[ComponentTests]] = {
    "family": FamilyTests,
    "backbone": BackboneTests,
    "encoder": EncoderTests,
    "decoder": DecoderTests,
    "neuron": NeuronTests,
    "converter": ConverterTests,
    "catalog": CatalogTests,
    "command": CommandTests,
    "energy_model": EnergyModelTests,
}
"""The suite of every kind."""

LOADS = "it_loads"


def run_check(tests: ComponentTests, check: str) -> CheckResult:
    """One check of a suite; whatever the component raises is a failure of that check."""
    try:
        getattr(tests, PREFIX + check)()
    except NotApplicable as reason:
        return CheckResult(tests.kind, tests.name, check, Outcome.SKIPPED, str(reason))
    except ConformanceError as error:
        return CheckResult(tests.kind, tests.name, check, Outcome.FAILED, str(error))
    except (Exception, SystemExit) as error:  # what a component raises ends its own check, not those of others
        return CheckResult(tests.kind, tests.name, check, Outcome.FAILED, f"raises {type(error).__name__}: {error}")
    return CheckResult(tests.kind, tests.name, check, Outcome.PASSED)


def run_checks(tests: ComponentTests) -> list[CheckResult]:
    """All checks of a suite; of a component that does not load, that one alone."""
    return [*_results(tests)]


def _results(tests: ComponentTests) -> Iterator[CheckResult]:
    first = run_check(tests, LOADS)
    yield first
    if first.outcome is not Outcome.FAILED:
        yield from (run_check(tests, check) for check in checks_of(type(tests)) if check != LOADS)


def check_component(component: Component, registry: Registry | None = None) -> list[CheckResult]:
    """Whether a component keeps the contract of its kind, without a test file of its own.

    Checks that want something of the author (a reference, a decoder that inverts the encoder) are skipped; a test
    file that subclasses the kind's suite gives it to them.

    Args:
        component: its handle.
        registry: what it was found in; the installed components by default.
    """
    return [*each_check(component, registry)]


def each_check(component: Component, registry: Registry | None = None) -> Iterator[CheckResult]:
    """The results of `check_component`, each as soon as its check has ended."""
    tests = SUITES[component.kind]()
    tests.registry = registry
    tests.name = full_name(component)
    yield from _results(tests)


def check_distribution(name: str, registry: Registry | None = None) -> list[CheckResult]:
    """The checks of every component that an installed distribution offers.

    Raises:
        UnknownComponentError: no such distribution, or it offers no component.
    """
    components = (registry or default_registry()).components()
    provided = [component for component in components if component.distribution == name]
    if not provided:
        known = {component.distribution for component in components} - {NOTEBOOK}
        raise UnknownComponentError(
            f"no installed distribution {shorten(name)} offers components{suggest(name, known)}"
        )
    return [result for component in provided for result in check_component(component, registry)]
