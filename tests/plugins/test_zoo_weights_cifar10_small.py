"""zoo-weights-cifar10-small as its users get it: a wheel beside the zoo's, no Hub, no network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugins.child_process import RunPython
from tests.plugins.weights_as_wheels import check_own_tests, check_photograph, check_size

PLUGIN = Path(__file__).parents[2] / "plugins" / "zoo-weights-cifar10-small"


@pytest.mark.slow
def test_its_own_tests_pass_on_the_wheel_without_network(target: Path, run_python: RunPython, tmp_path: Path) -> None:
    check_own_tests(PLUGIN, target, run_python, tmp_path)


def test_the_wheel_is_at_most_60_megabytes(build_wheel: Callable[[Path], Path]) -> None:
    check_size(build_wheel(PLUGIN))


@pytest.mark.slow
def test_a_photograph_is_classified_by_its_weight(target: Path, run_python: RunPython) -> None:
    check_photograph("has8_resnetsmall_b16_m2_d4_ste_bpd", target, run_python)
