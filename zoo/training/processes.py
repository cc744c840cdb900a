"""accelerate's processes: which engine a run has, and what its processes tell each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from zoo.contracts.device import AUTO, usable_device
from zoo.errors import InputError, missing_extra

try:
    from accelerate import Accelerator, PartialState
    from accelerate.state import AcceleratorState, GradientState
    from accelerate.utils import broadcast_object_list
except ModuleNotFoundError as error:
    raise missing_extra(error, "training", "train") from error

Shared = TypeVar("Shared")

_DEVICE = "ACCELERATE_TORCH_DEVICE"
"""What accelerate reads a device with its number from."""


def make_accelerator(precision: str, accumulate: int = 1, device: str = AUTO) -> Accelerator:
    """accelerate's engine for this process, on a GPU where there is one.

    accelerate keeps the first precision and device of a process for ever; each run has its own, so these are
    forgotten, and the processes stay connected.

    Args:
        precision: of a recipe.
        accumulate: micro-batches of a process in one step.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`; with several processes each takes a GPU of its own.

    Raises:
        InputError: that precision or that device is not to be had here.
    """
    chosen = torch.device(usable_device(device))
    on_cpu = chosen.type == "cpu"
    if on_cpu and precision == "fp16":
        raise InputError("precision fp16 needs a GPU; on a CPU choose bf16 or no")
    AcceleratorState._reset_state()
    GradientState._reset_state()
    if PartialState._shared_state and PartialState().num_processes == 1:
        PartialState._reset_state()
    named = str(chosen) if chosen.index is not None and not on_cpu else None
    with _device_named(named):
        accelerator = Accelerator(mixed_precision=precision, gradient_accumulation_steps=accumulate, cpu=on_cpu)
    if named is not None and accelerator.num_processes > 1:
        raise InputError(
            f"--device {device} is one GPU for {accelerator.num_processes} processes, which take one each; "
            f"choose --device {chosen.type}"
        )
    return accelerator


@contextmanager
def _device_named(name: str | None) -> Iterator[None]:
    """Inside, accelerate takes that device; None leaves its choice."""
    if name is None:
        yield
        return
    before = os.environ.get(_DEVICE)
    os.environ[_DEVICE] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[_DEVICE]
        else:
            os.environ[_DEVICE] = before


def broadcast(accelerator: Accelerator, value: Shared) -> Shared:
    """What the first process has, in all of them."""
    values = [value]
    if accelerator.num_processes > 1:
        broadcast_object_list(values)
    return values[0]


def is_first_process() -> bool:
    """Whether this is the one that tells and writes."""
    return bool(PartialState().is_main_process)
