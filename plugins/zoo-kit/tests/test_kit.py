"""The kit itself: it names what is wrong with spoiled components, catalogs and weights, and passes good ones."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import kit_defects as defects
import pytest
import yaml
from kit_defects import BACKBONES, CONVERTERS, DECODERS, ENCODERS, FAMILIES, NEURONS
from zoo_kit import SUITES, ComponentTests, DecoderTests, NeuronTests, WeightTests

import zoo
from zoo.catalog.files import catalog_path
from zoo.registry.components import default_registry

KINDS = {"neuron": NEURONS, "encoder": ENCODERS, "decoder": DECODERS, "backbone": BACKBONES, "family": FAMILIES}
KINDS["converter"] = CONVERTERS


@pytest.fixture
def make() -> Iterator[Callable[..., ComponentTests]]:
    """`make(kind, cls)`: the suite of a kind on a class that is registered as `bad`."""

    def made(kind: str, cls: type[Any], suite: type[ComponentTests] | None = None) -> ComponentTests:
        zoo.register(kind, "bad")(cls)
        tests = (suite or SUITES[kind])()
        tests.name = "bad"
        if isinstance(tests, DecoderTests):
            tests.encoder = "ste"
        return tests

    yield made
    default_registry.cache_clear()


def first_failure(tests: ComponentTests, check: str) -> str:
    """Run a check with all its parameters and return what it says; '' if it passes or is skipped."""
    method = getattr(tests, f"test_{check}")
    marks = [mark for mark in getattr(method, "pytestmark", []) if mark.name == "parametrize"]
    for values in [(value,) for value in marks[0].args[1]] if marks else [()]:
        try:
            method(*values)
        except pytest.skip.Exception:
            continue
        except (Exception, pytest.fail.Exception) as error:
            return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize(
    ("kind", "cls", "check", "said"),
    [(kind, *case) for kind, cases in KINDS.items() for case in cases],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_defect_is_found_and_named(
    make: Callable[..., ComponentTests], kind: str, cls: type[Any], check: str, said: str
) -> None:
    assert said in first_failure(make(kind, cls), check)


@pytest.mark.parametrize("good", ["GoodNeuron", "SignedNeuron", "GradedNeuron", "GoodEncoder", "GoodDecoder"])
def test_the_unspoiled_ones_pass(make: Callable[..., ComponentTests], good: str) -> None:
    kind = re.findall("[A-Z][a-z]+", good)[1].lower()
    tests = make(kind, getattr(defects, good))
    checks = [name.removeprefix("test_") for name in dir(tests) if name.startswith("test_")]
    assert {check: said for check in checks if (said := first_failure(tests, check))} == {}


def test_an_exemption_is_a_strict_xfail_of_that_suite_alone() -> None:
    class Exempt(NeuronTests):
        exempt: ClassVar = {"spikes_are_zeros_and_ones": "graded spikes, on purpose"}

    marks = {mark.name: mark.kwargs for mark in Exempt.test_spikes_are_zeros_and_ones.pytestmark}  # type: ignore[attr-defined]
    assert marks["xfail"] == {"reason": "graded spikes, on purpose", "strict": True}
    assert not hasattr(NeuronTests.test_spikes_are_zeros_and_ones, "pytestmark")
    with pytest.raises(AttributeError, match="no_such_check"):
        type("Wrong", (NeuronTests,), {"exempt": {"no_such_check": "?"}})


@pytest.mark.parametrize(("name", "said"), [("", "names no neuron"), ("pilf", "did you mean 'plif'")])
def test_a_suite_without_a_name_or_with_a_wrong_one_says_so(name: str, said: str) -> None:
    tests = NeuronTests()
    tests.name = name
    assert said in first_failure(tests, "it_loads")


# Catalogs and weights -------------------------------------------------------------------------------------------------


class Distribution(WeightTests):
    """A package of the zoo's own weights; its registry.yaml is written before every check."""

    name = "mine"

    def __init__(self, folder: Path) -> None:
        self.package = folder / "package_of_weights"
        shutil.copytree(Path(zoo.__file__).parent / "pretrained", self.package)
        self.written: list[dict[str, Any]] = copy.deepcopy(yaml.safe_load(catalog_path().read_text("utf-8"))["weights"])
        for record in self.written:
            record["source"] = f"package:{self.package.name}/{Path(record['source']).name}"

    @property
    def component(self) -> Any:
        return type("Handle", (), {"target": self.package.name})

    def load(self) -> Path:
        file = self.package / "registry.yaml"
        file.write_text(yaml.safe_dump({"version": 1, "weights": self.written}), encoding="utf-8")
        return file


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Distribution:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Distribution(tmp_path)


@pytest.mark.slow
def test_weights_in_order_pass(distribution: Distribution) -> None:
    checks = [name.removeprefix("test_") for name in dir(distribution) if name.startswith("test_it")]
    assert {check: said for check in checks if (said := first_failure(distribution, check))} == {}


@pytest.mark.parametrize(
    ("change", "check", "said"),
    [
        ({"sha256": "0" * 64}, "its_weights_are_what_it_says", "published"),
        ({"labels": ["cat"]}, "its_weights_are_what_it_says", "labels and channels"),
        ({"source": "package:nowhere/a.safetensors"}, "its_files_are_listed", "list the file"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_false_record_is_found_and_named(
    distribution: Distribution, change: dict[str, Any], check: str, said: str
) -> None:
    distribution.written[0] |= change
    assert said in first_failure(distribution, check)
