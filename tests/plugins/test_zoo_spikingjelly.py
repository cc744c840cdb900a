"""zoo-spikingjelly as an installed wheel: its own tests, and its names in the command line."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parents[2] / "plugins" / "zoo-spikingjelly"


@pytest.fixture(scope="module")
def wheel(build_wheel: Callable[[Path], Path]) -> Path:
    return build_wheel(PLUGIN)


@pytest.fixture(scope="module")
def site(wheel: Path, install: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install([wheel], tmp_path_factory.mktemp("site"))


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"zoo_spikingjelly/family.py", "zoo_spikingjelly/py.typed"} <= set(names)
    assert all(name.startswith(("zoo_spikingjelly/", "zoo_spikingjelly-")) for name in names)


@pytest.mark.slow
def test_its_own_tests_pass_where_it_is_installed(
    site: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_python(["-m", "pytest", "-q", "-p", "no:cacheprovider", PLUGIN / "tests"], site)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    where = run_python("import zoo_spikingjelly; print(zoo_spikingjelly.__file__)", site)
    assert Path(where.stdout.strip()).is_relative_to(site)


def test_its_family_is_listed_and_loads(
    site: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = run_python(["-m", "zoo", "list", "--components", "sj", "--json"], site)
    assert json.loads(done.stdout) == {
        "kind": "family",
        "name": "sj",
        "distribution": "zoo-spikingjelly",
        "version": "0.1.0",
        "state": "available",
        "about": "`sj_spikformerti` and its like: a network as spikingjelly builds it, with its paper's neurons and T.",
        "error": None,
    }


def test_its_names_are_found_from_the_list(
    site: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    every = [json.loads(line) for line in run_python(["-m", "zoo", "list", "--json"], site).stdout.splitlines()]
    (further,) = [row for row in every if row.get("pattern") == "sj_*"]
    assert (further["kind"], further["distribution"]) == ("family", "zoo-spikingjelly")
    names = run_python(["-m", "zoo", "list", "sj_*"], site).stdout.splitlines()
    assert "sj_spikformerti" in names
    assert all(name.startswith("sj_") for name in names)
    assert run_python(["-m", "zoo", "list", "sj_spikformert*"], site).stdout == "sj_spikformerti\n"
