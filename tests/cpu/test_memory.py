"""Freed memory that a process keeps: counted in page faults, in processes of their own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# A small object may come to lie behind a large block and stay in malloc's cache of seven such when it is freed; the
# block's place is then some bytes too small for the next one. So up to seven steps grow the heap, by one block each.
STEPS = """
import resource, sys, torch
from zoo.cpu.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():
    return [torch.ones(48 << 18) for _ in range(4)]
for _ in range(24):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults_of_a_step(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", STEPS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other systems have their own malloc")
def test_a_settled_step_meets_no_fresh_page() -> None:
    kept = faults_of_a_step("keep")
    assert kept < 100
    assert faults_of_a_step("plain") > 10 * max(kept, 5)  # 49,152 of 4 KiB, 96 of 2 MiB
