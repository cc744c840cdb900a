"""The kit on every component of the zoo: each keeps its contract, and no check is skipped for want of an object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from zoo.registry import default_registry
from zoo.testing import (
    BackboneTests,
    ComponentTests,
    ConverterTests,
    DecoderTests,
    EncoderTests,
    FamilyTests,
    NeuronTests,
    Outcome,
    run_check,
)
from zoo.testing.component import checks_of
from zoo.testing.imports import probe_imports

IMPORT = "importing_it_does_nothing_else"  # all modules at once, below
REFERENCES = {"planes_equal_the_reference", "gradient_equals_the_reference"}  # theirs are in tests/encoders
NO_SURROGATE = {
    "gradient_of_difficult_values",
    "gradient_ignores_batch_mates",
    "gradient_on_the_meta_device",
    "it_learns_in_a_model",
    "round_trip",
}
TORCHLESS = "naming_loads_no_torch"
STORED = {"the_state_fits_the_model", "zoo_convert_stores_it"}  # of real checkpoints, in tests/converters
SMALL: dict[str, Any] = {"image_size": 16}

SUITES: list[tuple[type[ComponentTests], str, dict[str, Any], set[str]]] = [
    *(
        (EncoderTests, name, {"decoder": "bpd"}, REFERENCES)
        for name in ("sigmoid", "tanh", "fourier", "sigmoidraw", "tanhraw", "fourierraw", "ste")
    ),
    *((EncoderTests, name, {}, REFERENCES | NO_SURROGATE) for name in ("ttfs", "phase")),
    (EncoderTests, "rate", {}, REFERENCES | NO_SURROGATE | {"repeatable_planes_repeat_in_training_mode"}),
    (DecoderTests, "bpd", {"encoder": "ste"}, set()),
    (DecoderTests, "rate", {}, {"it_reads_its_encoder", "round_trip"}),
    (NeuronTests, "if", {}, {"gradient_of_parameters"}),
    (NeuronTests, "lif", {}, {"gradient_of_parameters"}),
    (NeuronTests, "plif", {}, set()),
    *((BackboneTests, name, SMALL, set()) for name in ("resnet", "resnetfull", "resnetsmall", "vgg")),
    (FamilyTests, "has8", SMALL | {"names": ("has8_resnet_b2_m2_d1_ste_bpd", "has8_vgg_b2_m1_d1_ste_rate")}, set()),
    (FamilyTests, "snn", SMALL | {"names": ("snn_resnet_b2_m2_d1_ste_bpd_lif",)}, set()),
    (FamilyTests, "ann", SMALL | {"names": ("ann_vgg_b2_m2_d1", "ann_resnet18")}, {"the_control_has_no_spikes"}),
    (FamilyTests, "sew", SMALL | {"names": ("sew_resnet18_ste",)}, set()),
    (FamilyTests, "timm", SMALL, {"the_control_has_no_spikes"}),
    *((ConverterTests, name, {}, STORED) for name in ("timm", "torchvision")),
]


LARGE = ("resnet34", "resnet50", "resnet101", "resnet152")
SLOWER = {"timm", "sew"}
"""Seconds each, and like one of its kind that is checked in every run."""
ENOUGH_FOR_LARGE = {"it_loads", "stages_and_reductions", "feature_info_is_true", "named_modules_exist", "it_learns"}


def test_no_built_in_is_left_out() -> None:
    ours = {(c.kind, c.name) for c in default_registry().components() if c.distribution == "has8-zoo"}
    assert ours == {(suite.kind, name) for suite, name, _, _ in SUITES} | {("backbone", name) for name in LARGE}


def _skipped(suite: type[ComponentTests], name: str, given: dict[str, Any], checks: Iterable[str]) -> set[str]:
    """The checks that were skipped; none may fail."""
    tests = suite()
    tests.name = name
    for attribute, value in given.items():
        setattr(tests, attribute, value)
    results = [run_check(tests, check) for check in checks]
    assert [f"{r.check}: {r.message}" for r in results if r.outcome is Outcome.FAILED] == []
    return {r.check for r in results if r.outcome is Outcome.SKIPPED}


@pytest.mark.parametrize(
    ("suite", "name", "given", "skipped"),
    [
        pytest.param(*case, id=f"{case[0].kind}-{case[1]}", marks=pytest.mark.slow if case[1] in SLOWER else ())
        for case in SUITES
    ],
)
def test_built_in(suite: type[ComponentTests], name: str, given: dict[str, Any], skipped: set[str]) -> None:
    checks = [check for check in checks_of(suite) if check not in (IMPORT, TORCHLESS)]
    assert _skipped(suite, name, given, checks) == skipped


@pytest.mark.parametrize(
    "name", ["resnet50", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE if name != "resnet50")]
)
def test_large_built_in(name: str) -> None:
    assert _skipped(BackboneTests, name, SMALL, ENOUGH_FOR_LARGE) == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_large_built_in_on_every_check(name: str) -> None:
    assert _skipped(BackboneTests, name, SMALL, checks_of(BackboneTests)) == set()


@pytest.mark.slow
def test_importing_the_built_ins_does_nothing_else() -> None:
    ours = [c for c in default_registry().components() if c.distribution == "has8-zoo"]
    modules = tuple(dict.fromkeys(c.target.partition(":")[0] for c in ours))
    assert {module: deeds for module, deeds in probe_imports(modules).items() if deeds} == {}
    families = tuple(dict.fromkeys(c.target.partition(":")[0] for c in ours if c.kind == "family"))
    assert {module: deeds for module, deeds in probe_imports(families, True).items() if deeds} == {}
