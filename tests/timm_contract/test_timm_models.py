"""timm's own tests pass on our models; which, and what is left out and why, is in timm_selection.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from tests.timm_contract.timm_file import Ran, find_tests
from tests.timm_contract.timm_selection import EVERY_MODEL, LARGE, LEFT_OUT, NOT_OURS, SMALL, WITH_WEIGHTS
from zoo.registry import default_registry, parse_name, providers_of

Run = Callable[[Sequence[str]], Ran]


@pytest.fixture(scope="module", params=[pytest.param(SMALL, marks=pytest.mark.slow)], ids=["small"])
def models(request: pytest.FixtureRequest) -> Sequence[str]:
    """All small networks, one of them with published weights; they take half a CPU minute."""
    chosen: Sequence[str] = request.param
    return chosen


@pytest.fixture(scope="module")
def small(run_timms_tests: Run, models: Sequence[str]) -> Ran:
    return run_timms_tests(models)


def _require_passed(outcomes: Mapping[str, str], models: Sequence[str]) -> None:
    """Every model's test was run, and passed: not skipped, nor expected to fail."""
    assert {name.partition(".")[0] for name in outcomes} == set(models)
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "passed"} == {}


@pytest.mark.parametrize("function", EVERY_MODEL)
def test_timms_test_passes_on_small_models(function: str, small: Ran, models: Sequence[str]) -> None:
    _require_passed(small.outcomes.get(function, {}), models)


@pytest.mark.parametrize("function", WITH_WEIGHTS)
def test_timms_test_passes_on_small_models_with_weights(function: str, small: Ran) -> None:
    _require_passed(small.outcomes.get(function, {}), SMALL[:1])


def test_what_else_timm_would_run_on_them_passes_too(small: Ran) -> None:
    for function in small.outcomes.keys() - set(EVERY_MODEL) - set(WITH_WEIGHTS):
        assert set(small.outcomes[function].values()) == {"passed"}, function


def test_what_is_left_out_has_its_reason(small: Ran) -> None:
    ours = {function: reason for function, reason in small.left_out.items() if reason != NOT_OURS}
    assert ours == LEFT_OUT
    assert not small.left_out.keys() & small.outcomes.keys()
    assert "test_model_forward_torchscript_with_features_fx" in small.left_out  # of regnetx_002


def test_every_component_of_the_zoos_own_is_in_one_of_the_models() -> None:
    kinds = ("family", "backbone", "encoder", "decoder", "neuron")
    components = default_registry().components()
    ours = {(c.kind, c.name) for c in components if c.distribution == "has8-zoo" and c.kind in kinds}
    used = {(c.kind, c.name) for model in (*SMALL, *LARGE) for c in providers_of(parse_name(model))}
    assert len(ours) > 20
    assert ours - used == set()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("model", LARGE)
def test_timms_tests_pass_on(model: str, run_timms_tests: Run) -> None:
    ran = run_timms_tests([model])
    assert ran.outcomes.keys() >= set(EVERY_MODEL)
    for outcomes in ran.outcomes.values():
        _require_passed(outcomes, [model])


def test_without_timms_tests_nothing_passes_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(pytest.fail.Exception, match=r"NOTHING of the contract with timm was tested: pip could not"):
        find_tests(tmp_path)
    assert list(tmp_path.iterdir()) == []
