"""Seconds of a step, and rounds in which several are measured in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

Command = TypeVar("Command")
"""An item that `interleave` hands to its measure: the arguments, for one."""

Taken = TypeVar("Taken")
"""The measure's result: seconds, for one."""


def time_step(step: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the clock, and of the processor over all threads, which other programs disturb less."""
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


def interleave(
    commands: Mapping[str, Command], repeats: int, measure: Callable[[Command], Taken]
) -> dict[str, list[Taken]]:
    """Measure every command, round by round; one warm-up round (bytecode, disk cache) is dropped."""
    names = list(commands)
    found: dict[str, list[Taken]] = {name: [] for name in names}
    for turn in range(repeats + 1):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            taken = measure(commands[name])
            if turn:
                found[name].append(taken)
    return found
