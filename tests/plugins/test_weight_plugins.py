"""Distributions of weights as their users get them: a wheel beside the zoo's, no Hub, no network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugins.child_process import RunPython
from tests.plugins.weights_as_wheels import check_own_tests, check_photograph, check_size

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "plugins"
CLASSIFIERS = {
    "zoo-weights-cifar10": "has8_resnet_b32_m2_d4_ste_bpd",
    "zoo-weights-cifar10-baselines": "ann_resnet18",
    "zoo-weights-cifar10-sew": "sew_resnet18_ttfs",
    "zoo-weights-cifar10-small": "has8_resnetsmall_b16_m2_d4_ste_bpd",
    "zoo-weights-cifar10-vgg": "ann_vgg_b16_m2_d4",
    "zoo-weights-cifar10-vgg-fourier": "has8_vgg_b16_m2_d4_fourier_bpd",
}
"""A network of each."""
SMALLEST = "zoo-weights-cifar10-small"
"""It is built, installed and used in every run; packing the others takes seconds each."""


def test_no_distribution_is_left_out() -> None:
    assert {path.name for path in PLUGINS.glob("zoo-weights-*")} == CLASSIFIERS.keys()


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name != SMALLEST)) for name in CLASSIFIERS], scope="module"
)
def plugin(request: pytest.FixtureRequest) -> Path:
    return PLUGINS / str(request.param)


@pytest.fixture(scope="module")
def target(
    plugin: Path,
    build_wheel: Callable[[Path], Path],
    install: Callable[[list[Path], Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with the zoo and that plugin."""
    return install([build_wheel(ROOT), build_wheel(plugin)], tmp_path_factory.mktemp("site"))


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_what_is_packed_is_at_most_60_megabytes(name: str) -> None:
    """Weights hardly compress."""
    assert sum(path.stat().st_size for path in (PLUGINS / name).rglob("*.safetensors")) <= 60e6


def test_the_wheel_is_at_most_60_megabytes(plugin: Path, build_wheel: Callable[[Path], Path]) -> None:
    check_size(build_wheel(plugin))


@pytest.mark.slow
def test_its_own_tests_pass_on_the_wheel_without_network(
    plugin: Path, target: Path, run_python: RunPython, tmp_path: Path
) -> None:
    check_own_tests(plugin, target, run_python, tmp_path)


def test_a_photograph_is_classified_by_its_weight(plugin: Path, target: Path, run_python: RunPython) -> None:
    check_photograph(CLASSIFIERS[plugin.name], target, run_python)
