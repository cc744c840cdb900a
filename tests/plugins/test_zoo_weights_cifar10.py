"""zoo-weights-cifar10 as its users get it: a wheel beside the zoo's, no Hub, no network."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "plugins" / "zoo-weights-cifar10"

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "no_proxy": "",
    "http_proxy": "http://127.0.0.1:9",
    "https_proxy": "http://127.0.0.1:9",
}


def test_its_own_tests_pass_on_the_wheel_without_network(target: Path, run_python: RunPython, tmp_path: Path) -> None:
    shutil.copytree(PLUGIN / "tests", tmp_path / "tests")  # away from the source tree
    done = run_python(["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"], target, OFFLINE, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_is_at_most_60_megabytes(build_wheel: Callable[[Path], Path]) -> None:
    assert build_wheel(PLUGIN).stat().st_size <= 60e6


def test_a_photograph_is_classified_by_its_weight(target: Path, run_python: RunPython) -> None:
    arguments = ["-m", "zoo.cli", "predict", "--model", "has8_resnet_b32_m2_d4_ste_bpd", "--json"]
    done = run_python(arguments, target, OFFLINE)
    assert done.returncode == 0, done.stderr
    assert '"cat"' in done.stdout
