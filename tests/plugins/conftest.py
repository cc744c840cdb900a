"""Plugins as wheels: built once a session, installed into a folder, used by processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.plugins import child_process
from tests.plugins.child_process import TIMEOUT, RunPython

ROOT = Path(__file__).parents[2]
BuildWheel = Callable[[Path], Path]
Install = Callable[[Iterable[Path], Path], Path]

_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def _pip(*arguments: str | Path) -> None:
    done = subprocess.run([*_PIP, *map(str, arguments)], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def build_wheel(tmp_path_factory: pytest.TempPathFactory) -> BuildWheel:
    """`build_wheel(folder)`: the wheel of the distribution in that folder, without the network."""
    built: dict[Path, Path] = {}

    def build(folder: Path) -> Path:
        folder = folder.resolve()
        if folder not in built:
            out = tmp_path_factory.mktemp("wheel")
            _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", out, folder)
            (built[folder],) = out.glob("*.whl")
        return built[folder]

    return build


@pytest.fixture(scope="session")
def install() -> Install:
    """`install(wheels, target)`: those wheels, without what they depend on, in the folder `target`; gives `target`."""

    def into(wheels: Iterable[Path], target: Path) -> Path:
        _pip("install", "--no-deps", "--no-index", "--no-compile", "--target", target, *wheels)
        return target

    return into


@pytest.fixture(scope="module")
def target(
    request: pytest.FixtureRequest, build_wheel: BuildWheel, install: Install, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with the zoo and the plugin whose source is the test module's `PLUGIN`."""
    return install([build_wheel(ROOT), build_wheel(request.module.PLUGIN)], tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """`tests.plugins.child_process.run_python`."""
    return child_process.run_python
