"""What holds for every distribution of weights, as its users get it: a wheel beside the zoo's, no Hub, no network."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.plugins.child_process import RunPython

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "no_proxy": "",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
}


def check_own_tests(plugin: Path, target: Path, run_python: RunPython, tmp_path: Path) -> None:
    shutil.copytree(plugin / "tests", tmp_path / "tests")  # away from the source tree
    done = run_python(["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"], target, OFFLINE, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def check_size(wheel: Path) -> None:
    assert wheel.stat().st_size <= 60e6


def check_photograph(name: str, target: Path, run_python: RunPython) -> None:
    done = run_python(["-m", "zoo", "predict", "--model", name, "--json"], target, OFFLINE)
    assert done.returncode == 0, done.stderr
    assert '"cat"' in done.stdout
