"""Seconds of a step, and rounds in which several are measured in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Command = TypeVar("Command")
Taken = TypeVar("Taken")


def time_step(step: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the clock, and of the processor over all threads, which other programs disturb less."""
    clock, processor = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - clock, time.process_time() - processor


FEWEST_ROUNDS = 3
"""Rounds that are measured however long they take."""


def interleave(
    commands: Mapping[str, Command], repeats: int, measure: Callable[[Command], Taken], seconds: float = math.inf
) -> dict[str, list[Taken]]:
    """Measure every command, round by round; one warm-up round (bytecode, disk cache) is dropped.

    No round but the first three begins after `seconds`: a long step needs fewer, since it is a mean over its own time.
    """
    names = list(commands)
    end = time.perf_counter() + seconds
    found: dict[str, list[Taken]] = {name: [] for name in names}
    for turn in range(repeats + 1):
        if turn > FEWEST_ROUNDS and time.perf_counter() > end:
            break
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            taken = measure(commands[name])
            if turn:
                found[name].append(taken)
    return found
