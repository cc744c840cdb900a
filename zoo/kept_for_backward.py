"""What a spiking branch keeps for its backward pass, in less memory than torch keeps it in.

Every convolution keeps its input for the gradient of its weight. In a spiking branch that input is spikes, or the sum
of a few, and a signed byte holds each such value exactly. Average pooling keeps its input for its shape alone.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.fx import Proxy

from zoo.in_place import CHUNK, runs_in_place

_WORTH = 1 << 12
"""Values below which bytes would save less than the check costs."""
_PROBE = 64
"""Values looked at first: membrane currents fail at once."""


class _Kept(NamedTuple):
    """A tensor, or bytes in its place, and what it was."""

    values: Tensor
    dtype: torch.dtype
    version: int


def saving_bytes(x: Tensor) -> AbstractContextManager[object]:
    """A context in which autograd keeps tensors as bytes where that loses nothing: for a branch that x enters.

    Gradients are the same bit for bit. It does nothing without gradients, while torch compiles or traces, in float64
    and off the CPU, where the check would wait for the GPU.
    """
    return saved_tensors_hooks(_pack, _unpack) if _is_kept(x) else nullcontext()


def saving_shapes(x: Tensor) -> AbstractContextManager[object]:
    """A context for one operation on x whose backward pass asks for shapes and strides alone.

    What it finds there are uninitialised tensors, of memory that nothing has touched.
    """
    return saved_tensors_hooks(_pack_shape, _unpack_shape) if _is_kept(x) else nullcontext()


def _is_kept(x: Tensor) -> bool:
    return not isinstance(x, Proxy) and torch.is_grad_enabled() and runs_in_place(x)


def exact_bytes(x: Tensor) -> Tensor | None:
    """x in int8, in the same order in memory, where that holds each of its values, bit for bit; else None.

    Args:
        x: any shape, not empty, float32 or narrower, on the CPU. With gaps in memory it gives None.
    """
    order = sorted(range(x.dim()), key=x.stride, reverse=True)
    laid_out = x.permute(order)
    if not laid_out.is_contiguous():
        return None
    values, small = laid_out.view(-1), torch.empty_like(laid_out, dtype=torch.int8)
    parts = values.split(CHUNK), small.view(-1).split(CHUNK)
    if not all(_fits(*pair) for pair in chain([(values[:_PROBE], parts[1][0][:_PROBE])], zip(*parts, strict=True))):
        return None
    return small.permute(sorted(range(x.dim()), key=order.__getitem__))


def _fits(values: Tensor, small: Tensor) -> bool:
    """Fill `small` (n,), and say whether it holds the values (n,)."""
    back = small.copy_(values).to(values.dtype)
    aligned = len(values) - len(values) % _PROBE if values.storage_offset() % _PROBE == 0 else 0
    if aligned:  # several values at once
        wide = back[:aligned].view(torch.int64).bitwise_xor_(values[:aligned].view(torch.int64))
        if wide.count_nonzero():
            return False
    bits = torch.int32 if values.dtype == torch.float32 else torch.int16
    return torch.equal(back[aligned:].view(bits), values[aligned:].view(bits))


def _pack(kept: Tensor) -> _Kept:
    small = exact_bytes(kept) if kept.numel() >= _WORTH and runs_in_place(kept) else None
    return _Kept(kept if small is None else small, kept.dtype, kept._version)


def _unpack(kept: _Kept) -> Tensor:
    if kept.values.dtype != kept.dtype:
        return kept.values.to(kept.dtype)
    if kept.values._version != kept.version:  # torch's own check is not made on what a hook returns
        raise RuntimeError(
            "a tensor that the backward pass of a spiking branch needs was changed in place after it was used; "
            "write the branch without that in-place operation"
        )
    return kept.values


def _pack_shape(kept: Tensor) -> tuple[torch.Size, tuple[int, ...], torch.dtype]:
    return kept.shape, kept.stride(), kept.dtype


def _unpack_shape(kept: tuple[torch.Size, tuple[int, ...], torch.dtype]) -> Tensor:
    shape, strides, dtype = kept
    return torch.empty_strided(shape, strides, dtype=dtype)
