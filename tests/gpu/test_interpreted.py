"""The GPU's kernels on the CPU, by Triton's interpreter, which a process runs from its start or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = "tests/gpu/interpreted"

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed; it is for Linux alone")


def run_interpreted(marked: str, place: str = FOLDER) -> None:
    """Run the tests of a folder or file that are marked so; fails with what they print."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-m", marked, place]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.slow
def test_interpreted_kernels_compute_what_is_defined() -> None:
    run_interpreted("not slow")


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(path.name for path in (ROOT / FOLDER).glob("test_*.py")))
def test_interpreted_kernels_compute_what_is_defined_for_all_values_and_layouts(file: str) -> None:
    """A file at a time, for the interpreter is slow."""
    run_interpreted("slow", f"{FOLDER}/{file}")
