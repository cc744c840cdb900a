"""Plugins as wheels: built once a session, installed into a folder, used by processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BuildWheel = Callable[[Path], Path]
Install = Callable[[Iterable[Path], Path], Path]
RunPython = Callable[..., "subprocess.CompletedProcess[str]"]

_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
_TIMEOUT = 280


def _pip(*arguments: str | Path) -> None:
    done = subprocess.run([*_PIP, *map(str, arguments)], capture_output=True, text=True, timeout=_TIMEOUT, check=False)
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
    """`run_python(code_or_args, target, env, cwd)`: a process that sees `target` before everything else.

    A string is code, a sequence is the arguments of `python`. The working folder is `target` unless given, so that
    nothing of a source tree is importable by accident.
    """

    def run(
        code_or_args: str | Sequence[str | Path],
        target: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        arguments = ["-c", code_or_args] if isinstance(code_or_args, str) else [str(each) for each in code_or_args]
        environment = os.environ | {"PYTHONPATH": str(target), "OMP_NUM_THREADS": "1"} | dict(env or {})
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            check=False,
            cwd=cwd or target,
            env=environment,
        )

    return run
