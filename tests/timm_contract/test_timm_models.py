"""timm's own tests pass on our models; which, and what is left out and why, is in timm_selection.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.timm_contract.timm_file import Ran, find_tests, run
from tests.timm_contract.timm_selection import EVERY_MODEL, LARGE, LEFT_OUT, NOT_OURS, SMALL, WITH_WEIGHTS
from zoo.registry import default_registry, parse_name, providers_of

Run = Callable[[Sequence[str]], Ran]


@pytest.fixture(scope="module")
def run_timms_tests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run timm's test_models.py, kept in pytest's cache folder, on some models."""
    assert request.config.cache is not None
    tests: Path = find_tests(request.config.cache.mkdir("timm-tests"))
    return lambda models: run(tests, models, tmp_path_factory.mktemp("timm") / "report.json")


def _require_passed(ran: Ran, models: Sequence[str]) -> None:
    """Every test was run on every model, and passed: not skipped, nor expected to fail."""
    for function, outcomes in ran.outcomes.items():
        assert {name: outcome for name, outcome in outcomes.items() if outcome != "passed"} == {}, function
    for function in EVERY_MODEL:
        assert {name.partition(".")[0] for name in ran.outcomes.get(function, {})} == set(models), function


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_timms_tests_pass_on_small_models(run_timms_tests: Run) -> None:
    ran = run_timms_tests(SMALL)
    _require_passed(ran, SMALL)
    for function in WITH_WEIGHTS:
        assert {name.partition(".")[0] for name in ran.outcomes[function]} == set(SMALL[:1]), function
    ours = {function: reason for function, reason in ran.left_out.items() if reason != NOT_OURS}
    assert ours == LEFT_OUT
    assert not ran.left_out.keys() & ran.outcomes.keys()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("model", LARGE)
def test_timms_tests_pass_on_a_large_model(model: str, run_timms_tests: Run) -> None:
    _require_passed(run_timms_tests([model]), [model])


def test_every_component_of_the_zoos_own_is_in_one_of_the_models() -> None:
    kinds = ("family", "backbone", "encoder", "decoder", "neuron")
    components = default_registry().components()
    ours = {(c.kind, c.name) for c in components if c.distribution == "has8-zoo" and c.kind in kinds}
    used = {(c.kind, c.name) for model in (*SMALL, *LARGE) for c in providers_of(parse_name(model))}
    assert len(ours) > 20
    assert ours - used == set()
