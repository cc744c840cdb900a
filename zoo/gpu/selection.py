"""When the fused kernels run. They compute what a plain definition computes, which runs everywhere else."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from zoo.cpu.chunks import runs_eagerly

DEVICES = frozenset({"cuda"})
"""Kinds of device whose tensors the kernels take; Triton's interpreter takes CPU tensors too."""

MOST_TIMESTEPS = 32
"""Kernels hold all timesteps of a value in registers, and are compiled for each T."""

_OLDEST_TRITON = (3, 3)
"""The first with tuples in kernels."""

_OLDEST_GPU = (8, 0)
"""CUDA's compute capability from which a GPU knows bfloat16."""


def runs_fused(x: Tensor) -> bool:
    """Whether x is a plain, non-empty tensor of float32 or narrower on a GPU that the kernels serve.

    Not while torch compiles, exports or traces, nor under the transforms of torch.func, nor for a subclass of Tensor:
    a kernel needs memory of its own to read. Triton is optional; without it, or with one older than 3.3, nothing
    runs fused.
    """
    return (
        x.device.type in DEVICES
        and type(x) in (Tensor, nn.Parameter)
        and runs_eagerly(x)
        and _has_triton()
        and (x.device.type != "cuda" or _is_served(x.get_device()))
    )


def runs_fused_over_time(x: Tensor) -> bool:
    """The same of (T, N, …) x, for kernels that unroll T."""
    return runs_fused(x) and len(x) <= MOST_TIMESTEPS


@cache
def _has_triton() -> bool:
    if find_spec("triton") is None:
        return False
    import triton

    return tuple(int(part) for part in triton.__version__.split(".")[:2]) >= _OLDEST_TRITON


@cache
def _is_served(device: int) -> bool:
    """Whether the GPU of that index is new enough; every GPU that ROCm drives is."""
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= _OLDEST_GPU
