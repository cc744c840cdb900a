"""Plugins as wheels: built once a session, installed into a folder, used by processes of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from zoo_kit.installed import TIMEOUT

_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def _pip(*arguments: str | Path) -> None:
    done = subprocess.run([*_PIP, *map(str, arguments)], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def build_wheel(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """`build_wheel(folder)`: the wheel of the distribution in that folder, without the network."""
    built: dict[Path, Path] = {}

    def build(folder: Path) -> Path:
        if folder not in built:
            out = tmp_path_factory.mktemp("wheel")
            _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", out, folder)
            (built[folder],) = out.glob("*.whl")
        return built[folder]

    return build


@pytest.fixture(scope="session")
def install() -> Callable[[Iterable[Path], Path], Path]:
    """`install(wheels, site)`: those wheels, without what they depend on, in the folder `site`; returns `site`."""

    def into(wheels: Iterable[Path], site: Path) -> Path:
        _pip("install", "--no-deps", "--no-index", "--no-compile", "--target", site, *wheels)
        return site

    return into
