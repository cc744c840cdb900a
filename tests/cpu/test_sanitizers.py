"""The kernels under the sanitizers of addresses and of undefined behaviour, over the inputs of their own tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from zoo import cpu

ROOT = Path(__file__).parents[2]
SOURCE = Path(cpu.__path__[0]) / "kernels.c"
RUN = """
import sys, pytest
from zoo import cpu
cpu.__path__ = [sys.argv[1], *cpu.__path__]
sys.exit(pytest.main(["-q", "-m", "", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""
TESTS = [f"tests/cpu/test_{name}.py" for name in ("against_definitions", "pooling")]


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("gcc") is None or sys.platform != "linux", reason="needs gcc and its sanitizers")
def test_no_kernel_leaves_its_memory_or_the_language(tmp_path: Path) -> None:
    flags = ("-O1", "-g", "-std=c11", "-ffp-contract=off", "-fopenmp", "-shared", "-fPIC")
    source = f'-DZOO_SOURCE="{sha256(SOURCE.read_bytes()).hexdigest()}"'
    checks = (source, "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    subprocess.run(
        ["gcc", *flags, *checks, str(SOURCE), "-o", str(tmp_path / "_kernels.compiled.so"), "-lm"], check=True
    )
    preload = subprocess.check_output(["gcc", "-print-file-name=libasan.so"], text=True).strip()
    preload += " libstdc++.so.6"  # else torch's exceptions, which a test expects, are none of the sanitizer's
    environment = os.environ | {"LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0", "ZOO_KERNELS": "1"}
    command = [sys.executable, "-c", RUN, str(tmp_path), *TESTS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert " skipped" not in done.stdout
