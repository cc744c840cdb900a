"""The kit itself: what it finds in spoiled components, exemptions, and running it without pytest."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import Tensor

from tests.testing.spoiled import (
    BACKBONES,
    CONVERTERS,
    FAMILIES,
    NEURONS,
    Careless,
    Exemplary,
    Faithful,
    FragileTests,
    Graded,
    OfBlocks,
    Optional,
    Spikes,
    Spoiled,
    result_of,
)
from tests.testing.spoiled_coders import DECODERS, ENCODERS, OwnDecoder, OwnEncoder, Weighted
from zoo.decoders.averages import RateDecoder
from zoo.encoders.bitplanes import StraightThroughEncoder
from zoo.errors import UnknownComponentError
from zoo.registry import GROUPS, Component, Registry, default_registry, scan
from zoo.testing import (
    BackboneTests,
    ComponentTests,
    ConformanceError,
    DecoderTests,
    EncoderTests,
    FamilyTests,
    NeuronTests,
    Outcome,
    check_component,
    check_distribution,
    run_check,
)
from zoo.testing.component import checks_of
from zoo.testing.runner import SUITES


@pytest.mark.parametrize(
    ("suite", "cls", "check", "said"),
    [
        *((NeuronTests, *case) for case in NEURONS),
        *((EncoderTests, *case) for case in ENCODERS),
        *((DecoderTests, *case) for case in DECODERS),
        *((BackboneTests, *case) for case in BACKBONES),
        *((FamilyTests, *case) for case in FAMILIES),
        *((FragileTests, *case) for case in CONVERTERS),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_a_defect_is_found_and_named(suite: type[ComponentTests], cls: type[Any], check: str, said: str) -> None:
    names = {"names": ("bad_3x4",)} if cls is Careless else {}
    result = result_of(suite, cls, check, **names)
    assert result.outcome is Outcome.FAILED
    assert said in result.message


def test_the_unspoiled_ones_pass() -> None:
    for suite, cls in (
        (NeuronTests, Spikes),
        (EncoderTests, OwnEncoder),
        (DecoderTests, Weighted),
        (BackboneTests, Spoiled),
        (FamilyTests, OfBlocks),
        (FragileTests, Faithful),
    ):
        found = [result_of(suite, cls, check) for check in checks_of(suite)]
        assert [r for r in found if r.outcome is Outcome.FAILED] == []


def test_a_family_may_bring_example_names() -> None:
    for cls, outcome, said in (
        (Exemplary, Outcome.PASSED, ""),
        (Careless, Outcome.SKIPPED, "no models named; add `names ="),
        (Optional, Outcome.SKIPPED, "install it with: pip install vision"),
    ):
        result = result_of(FamilyTests, cls, "names_round_trip")
        assert (result.outcome, said in result.message) == (outcome, True)


def test_an_exempt_check_is_skipped_with_its_reason() -> None:
    class Exempt(NeuronTests):
        exempt: ClassVar = {"spikes_are_zeros_and_ones": "graded spikes, on purpose"}

    result = result_of(Exempt, Graded, "spikes_are_zeros_and_ones")
    assert result.outcome is Outcome.SKIPPED
    assert result.message.startswith("exempt (graded spikes, on purpose): `forward` gives 1.5")


def test_an_exempt_check_that_passes_is_an_error() -> None:
    class Exempt(NeuronTests):
        exempt: ClassVar = {"spikes_are_zeros_and_ones": "once"}

    result = result_of(Exempt, Spikes, "spikes_are_zeros_and_ones")
    assert result.outcome is Outcome.FAILED
    assert "take it out of `exempt`" in result.message


def test_an_exemption_of_nothing_is_refused() -> None:
    with pytest.raises(ConformanceError, match=r"exempt names 'no_such_check'; valid: it_loads, "):

        class Exempt(NeuronTests):
            exempt: ClassVar = {"no_such_check": "?"}


# --- Finding and running ---


def test_a_suite_without_a_name_or_with_a_wrong_one_says_what_to_do() -> None:
    for name, said in (("", 'NeuronTests names no neuron; add `name = "…"`'), ("lff", "did you mean 'lif'?")):
        tests = NeuronTests()
        tests.name = name
        result = run_check(tests, "it_loads")
        assert result.outcome is Outcome.FAILED
        assert said in result.message


def test_a_component_that_does_not_load_has_oneresult_of() -> None:
    def explode() -> Any:
        raise ImportError("no module named snntorch")

    broken = Component("neuron", "broken", "zoo-broken", "1.0", "zoo_broken:Neuron", importer=explode)
    (result,) = check_component(broken, Registry([broken]))
    assert (result.check, result.outcome) == ("it_loads", Outcome.FAILED)
    assert "no module named snntorch" in result.message


def test_an_api_version_of_the_zoos_own_class_is_not_the_plugins() -> None:
    class Borrowed(StraightThroughEncoder.__base__):  # type: ignore[name-defined]
        def forward(self, x: Tensor) -> Tensor:
            return x.round()

    result = result_of(EncoderTests, Borrowed, "it_declares_its_own_api_version")
    assert "write `api_version = 1` in your own class" in result.message


def test_of_two_distributions_that_claim_a_name_each_is_checked() -> None:
    claims = [
        Component("decoder", "same", f"zoo-{name}", "1.0", f"zoo_{name}:Decoder", importer=lambda: RateDecoder)
        for name in ("one", "two")
    ]
    registry = Registry(claims)
    tests = DecoderTests()
    tests.name, tests.registry = "same", registry
    assert "is claimed by zoo-one" in run_check(tests, "it_loads").message
    tests.name = "zoo-two:same"
    assert run_check(tests, "answers_have_the_shape_of_a_plane").outcome is Outcome.PASSED


def test_a_decoder_and_its_encoder_may_both_be_registered_in_this_process() -> None:
    registry = Registry(c for c in default_registry().components() if c.distribution == "has8-zoo")
    for kind, cls in (("encoder", OwnEncoder), ("decoder", OwnDecoder)):
        registry.register(kind, "own", cls)
    found = check_component(registry.find("decoder", "own"), registry)
    assert [r for r in found if r.outcome is Outcome.FAILED] == []
    assert {r.check for r in found if r.outcome is Outcome.PASSED} >= {"it_learns_in_a_model"}


def test_an_unknown_distribution_names_those_there_are() -> None:
    with pytest.raises(UnknownComponentError, match=r"no installed distribution 'has8_zoo' .* mean 'has8-zoo'"):
        check_distribution("has8_zoo")


def test_every_kind_of_component_has_a_suite() -> None:
    assert SUITES.keys() == GROUPS.keys()
    for kind, suite in SUITES.items():
        assert suite.kind == kind
        checks = checks_of(suite)
        assert checks[0] == "it_loads"
        assert all(getattr(suite, f"test_{check}").__doc__ for check in checks)


def test_results_are_json() -> None:
    registry = Registry(c for c in default_registry().components() if c.distribution == "has8-zoo")
    registry.register("decoder", "mine", RateDecoder)
    rows = [result.to_json() for result in check_component(registry.find("decoder", "mine"), registry)]
    assert {row["name"] for row in rows} == {"mine"}
    assert {row["outcome"] for row in json.loads(json.dumps(rows))} == {"passed", "skipped"}
    assert all(row["message"] for row in rows if row["outcome"] == "skipped")


def test_a_catalog_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, variant, said in (
        ("good", "has8_resnet_b4_m2_d2_lif", None),
        ("unknown", "has8_resnet_b4_m2_d2_nothing_bpd", "unknown encoder 'nothing'"),
        ("unusual", "has8_resnet_b4_m2_d2_ste_bpd_if", "is written 'has8_resnet_b4_m2_d2_ste_bpd'"),
    ):
        folder = tmp_path / f"catalog_{name}"
        folder.mkdir()
        text = variant.replace("d2_lif", "d2_ste_bpd_lif")
        (folder / "registry.yaml").write_text(f"version: 1\nvariants: [{{names: {text}}}]\n", encoding="utf-8")
        point = importlib.metadata.EntryPoint(name, folder.name, "zoo.catalogs")
        ours = [c for c in default_registry().components() if c.distribution == "has8-zoo"]
        registry = Registry([*ours, *scan([point])])
        failed = [r.message for r in check_component(registry.find("catalog", name), registry) if r.outcome == "failed"]
        assert len(failed) == (said is not None)
        assert said is None or said in failed[0]
