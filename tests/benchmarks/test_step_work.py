"""A training step does not come to do more work: operations and bytes moved, held to what was last written down."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.common.reporting import RESULTS
from benchmarks.step_work import NAMES, THREADS, WorkCounter, with_threads

ALLOWED = 1.05
RECORDED = json.loads((RESULTS / "step_work.json").read_text(encoding="utf-8"))


def release(version: str) -> str:
    """`2.13.0+cpu` → `2.13`: within it torch runs the same operations."""
    return ".".join(version.split(".")[:2])


@pytest.mark.skipif(
    release(torch.__version__) != release(RECORDED["torch"]),
    reason=f"counted with torch {RECORDED['torch']}; other releases run other operations",
)
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("name", NAMES)
def test_a_step_does_no_more_work_than_recorded(name: str, threads: int) -> None:
    (recorded,) = (row for row in RECORDED["rows"] if (row["name"], row["threads"]) == (name, threads))
    work = with_threads(name, threads)
    for way in ("forward", "backward"):
        for what in ("calls", "moved_bytes"):
            most = ALLOWED * recorded[way][what]
            assert work[way][what] <= most, f"{way} {what}: if that is meant, run python -m benchmarks.step_work"


def test_the_counter_sees_operations_and_bytes_but_no_bytes_of_views() -> None:
    x = torch.ones(10)
    with WorkCounter() as counter:
        (x.view(2, 5) + 1).add_(1)
    assert counter.calls == 3
    assert counter.moved_bytes == 4 * (10 + 10) + 4 * (10 + 10)
