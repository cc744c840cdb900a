"""Seconds of a step in this process: on the clock, and of the processor, which other programs disturb less."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any


def time_step(step: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the clock, and of the processor over all threads."""
    clock, processor = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - clock, time.process_time() - processor


def spread(taken: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Median, least and most of both; `cpu_` is the processor's."""
    found: dict[str, Any] = {}
    for kind, seconds in zip(("", "cpu_"), zip(*taken, strict=True), strict=True):
        found |= {
            f"{kind}median_s": statistics.median(seconds),
            f"{kind}min_s": min(seconds),
            f"{kind}max_s": max(seconds),
            f"{kind}seconds": list(seconds),
        }
    return found
