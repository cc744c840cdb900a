"""Every plugin of this repository as its users get it: a wheel beside the zoo's, without a network."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugins.child_process import RunPython

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
SMALLEST = "zoo-weights-cifar10-small"
"""It is built, installed and used in every run; packing the others takes seconds each."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}

each_plugin = pytest.mark.parametrize(
    "plugin",
    [pytest.param(path, marks=[pytest.mark.slow] * (path.name != SMALLEST)) for path in PLUGINS],
    ids=lambda path: path.name,
    scope="module",
)


@pytest.fixture(scope="module")
def target(
    plugin: Path,
    build_wheel: Callable[[Path], Path],
    install: Callable[[list[Path], Path], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with the zoo and that plugin."""
    return install([build_wheel(ROOT), build_wheel(plugin)], tmp_path_factory.mktemp("site"))


@each_plugin
def test_the_wheel_holds_the_package_alone(plugin: Path, build_wheel: Callable[[Path], Path]) -> None:
    wheel, package = build_wheel(plugin), plugin.name.replace("-", "_")
    assert wheel.stat().st_size <= 60e6
    names = zipfile.ZipFile(wheel).namelist()
    assert all(name.startswith((f"{package}/", f"{package}-")) for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


@each_plugin
def test_its_components_are_listed_and_its_weights_classify(plugin: Path, target: Path, run_python: RunPython) -> None:
    done = run_python(["-m", "zoo", "plugins", "--json"], target, OFFLINE)
    rows = [row for row in map(json.loads, done.stdout.splitlines()) if row["distribution"] == plugin.name]
    assert {row["state"] for row in rows} == ({"loaded"} if plugin.name != "zoo-nir" else set())  # it has none
    if plugin.name.startswith("zoo-weights"):
        record = next(iter((target / plugin.name.replace("-", "_")).glob("*.safetensors"))).stem
        name = next(line for line in _listed(target, run_python) if line.startswith(record.partition(".")[0]))
        done = run_python(["-m", "zoo", "predict", "--model", name, "--json"], target, OFFLINE)
        assert done.returncode == 0, done.stderr
        assert '"cat"' in done.stdout


def _listed(target: Path, run_python: RunPython) -> list[str]:
    return run_python(["-m", "zoo", "list", "--pretrained"], target, OFFLINE).stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name, scope="module")
def test_its_own_tests_pass_on_the_wheel(plugin: Path, target: Path, run_python: RunPython, tmp_path: Path) -> None:
    arguments = ["-m", "pytest", "-q", "-p", "no:cacheprovider", plugin / "tests"]
    done = run_python(arguments, target, OFFLINE, tmp_path)  # away from the source tree
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr


def test_the_kit_runs_without_a_test_file(run_python: RunPython, tmp_path: Path, install: Callable[..., Path]) -> None:
    """`zoo plugins check` passes a good plugin, and prints the first cause of each component that fails."""
    from tests.plugins.made_wheels import WORKS, write_wheel

    spoiled = WORKS.replace("return straight", "return 2 * straight")
    points = {"zoo.encoders": {"works": "zoo_mine:Thing", "spoiled": "zoo_theirs:Thing", "gone": "zoo_gone:Thing"}}
    files = {"zoo_mine.py": WORKS, "zoo_theirs.py": spoiled}
    site = install([write_wheel(tmp_path, "zoo-mine", files, points)], tmp_path / "site")
    done = run_python(["-m", "zoo", "plugins", "check", "zoo-mine", "--json"], site)
    assert done.returncode == 1, done.stderr
    rows = list(map(json.loads, done.stdout.splitlines()))
    failed = {row["name"]: row["message"] for row in rows if row["outcome"] == "failed"}
    assert failed.keys() == {"zoo-mine:spoiled", "zoo-mine:gone"}
    assert "zoo_gone" in failed["zoo-mine:gone"]
    done = run_python(["-m", "zoo", "plugins", "check", "zoo-mine"], site)
    assert "encoder zoo-mine:spoiled fails" in done.stdout
    assert "3 components: " in done.stdout
