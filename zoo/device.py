"""The device to compute on."""

from __future__ import annotations

import torch

from zoo.errors import InputError

AUTO = "auto"  # the first GPU with CUDA, or the CPU if there is none


def usable_device(name: str) -> str:
    """Return a device that torch can compute on, chosen for `auto`; raises `InputError` if this machine lacks it."""
    if name == AUTO:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        here = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        problem = f"cannot compute on device {name!r}: {reason}; this machine has {here}"
        raise InputError(f"{problem}: choose `device=cpu` or another of these") from error
    return name
