"""Every plugin of this repository as a wheel beside the zoo's, and the kit on installed components."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.plugins.installed import WORKS, put, run_python

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
_NO_NETWORK = "http://127.0.0.1:9"
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "http_proxy": _NO_NETWORK,
    "https_proxy": _NO_NETWORK,
    "no_proxy": "127.0.0.1,localhost",
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_wheel_works_and_passes_its_own_tests(
    plugin: Path, build_wheel: Callable[[Path], Path], install: Callable[[list[Path], Path], Path], tmp_path: Path
) -> None:
    wheel, package = build_wheel(plugin), plugin.name.replace("-", "_")
    assert wheel.stat().st_size <= 60e6
    names = zipfile.ZipFile(wheel).namelist()
    assert all(name.startswith((f"{package}/", f"{package}-")) for name in names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    site = install([build_wheel(ROOT), wheel], tmp_path / "site")
    done = run_python(["-m", "zoo", "plugins", "--json"], site, OFFLINE)
    rows = [row for row in map(json.loads, done.stdout.splitlines()) if row["distribution"] == plugin.name]
    assert {row["state"] for row in rows} == ({"loaded"} if plugin.name != "zoo-nir" else set())  # it has none
    for weight in list((site / package).glob("*.safetensors"))[:1]:
        done = run_python(["-m", "zoo", "predict", "--model", weight.stem, "--json"], site, OFFLINE)
        assert '"cat"' in done.stdout, done.stderr
    arguments: list[str | Path] = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", plugin / "tests"]
    done = run_python(arguments, site, OFFLINE, tmp_path)  # away from the source tree
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr


@pytest.mark.slow
def test_the_kit_runs_without_a_test_file(tmp_path: Path) -> None:
    """`zoo plugins check` prints every check that fails, with its cause."""
    works = WORKS.format(power=1)
    files = {"zoo_mine.py": works, "zoo_theirs.py": works.replace("return straight", "return 2 * straight")}
    points = "[zoo.encoders]\nworks = zoo_mine:Thing\nspoiled = zoo_theirs:Thing\ngone = zoo_gone:Thing\n"
    points += "[zoo.neurons]\nspoiled = zoo_gone:Thing\n"
    done = run_python(["-m", "zoo", "plugins", "check", "zoo-mine"], put(tmp_path / "site", "zoo-mine", points, files))
    assert done.returncode == 1, done.stderr
    assert "encoder zoo-mine:spoiled fails" in done.stdout
    assert "encoder zoo-mine:gone fails it_loads" in done.stdout
    assert "zoo_gone" in done.stdout
    assert "zoo-mine:works" not in done.stdout
    assert "4 components: " in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("status", [0, 3])
def test_a_plugin_that_ends_the_process_fails_its_check(status: int, tmp_path: Path) -> None:
    files = {"zoo_ends.py": f"import os\nos._exit({status})"}
    site = put(tmp_path, "zoo-ends", "[zoo.encoders]\nends = zoo_ends:Thing\n", files)
    done = run_python(["-m", "zoo", "plugins", "check", "zoo-ends", "--json"], site)
    assert [json.loads(line)["outcome"] for line in done.stdout.splitlines()] == ["failed"], done.stderr
    assert done.returncode == 1
