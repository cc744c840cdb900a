"""Where torch computes: what was asked for, where this machine has it."""

from __future__ import annotations

import torch

from zoo.errors import InputError

AUTO = "auto"
"""The first GPU with CUDA where there is one, else the CPU."""


def chosen_device(name: str) -> str:
    """`cuda` or `cpu` in place of `auto`; any other name stays, whether this machine has it or not."""
    if name != AUTO:
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def usable_device(name: str) -> str:
    """`name`, where torch can compute on that device; what it stands for of `auto`.

    Raises:
        InputError: it is not a device, or not one of this machine; the message names those of this machine.
    """
    name = chosen_device(name)
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"cannot compute on device {name!r}: {reason}; this machine has {', '.join(machine_devices())}: "
            "choose --device cpu or another of these"
        ) from error
    return name


def machine_devices() -> list[str]:
    """The devices that torch can compute on here, the GPUs with their names: `cpu`, `cuda:0 (NVIDIA H100)`."""
    devices = ["cpu"]
    devices += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    if torch.xpu.is_available():
        devices += [f"xpu:{i} ({torch.xpu.get_device_name(i)})" for i in range(torch.xpu.device_count())]
    return devices
