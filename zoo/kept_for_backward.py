"""What a spiking branch keeps for its backward pass, in less memory than torch keeps it in.

Every convolution keeps its input for the gradient of its weight. In a spiking branch that input is spikes, or the sum
of a few, and a signed byte holds each such value exactly.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.fx import Proxy
from torch.multiprocessing.reductions import StorageWeakRef

from zoo.in_place import runs_in_place

_WORTH = 1 << 12
"""Values below which bytes would save less than the check costs."""
_PART = 1 << 17
"""Values checked at once, which stay in a core's cache."""
_ALIGNED = 4
"""Values of two bytes that fill eight."""


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
    return saved_tensors_hooks(_Keeper().pack, _unpack) if keeps_for_backward(x) else nullcontext()


def keeps_for_backward(x: Tensor) -> bool:
    """Whether what works on x in place should mind what autograd keeps of it."""
    return not isinstance(x, Proxy) and torch.is_grad_enabled() and runs_in_place(x)


def exact_bytes(x: Tensor) -> Tensor | None:
    """x in int8, in the same order in memory, where that holds each of its values, bit for bit; else None.

    Args:
        x: any shape, not empty, float32 or narrower, on the CPU. With gaps in memory it gives None.
    """
    if not float(x[(0,) * x.dim()]).is_integer():  # what enters a neuron fails here
        return None
    order = sorted(range(x.dim()), key=x.stride, reverse=True)
    laid_out = x.permute(order)
    if not laid_out.is_contiguous():
        return None
    values, small = laid_out.view(-1), torch.empty_like(laid_out, dtype=torch.int8)
    back = values.new_empty(min(_PART, len(values)))
    for part, small_part in zip(values.split(_PART), small.view(-1).split(_PART), strict=True):
        if not _same_bits(back[: len(part)].copy_(small_part.copy_(part)), part):
            return None
    return small.permute(sorted(range(x.dim()), key=order.__getitem__))


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether a, which is overwritten, and b are equal, (n,) both: several values at once where they lie so."""
    wide = torch.int64
    if len(b) % _ALIGNED or b.storage_offset() % _ALIGNED:
        wide = torch.int32 if b.dtype == torch.float32 else torch.int16
    return not a.view(wide).bitwise_xor_(b.view(wide)).count_nonzero()


class _Keeper:
    """Packs what one pass through a branch keeps; what two layers keep, such as a block's planes, once."""

    def __init__(self) -> None:
        self._bytes: dict[object, tuple[StorageWeakRef, Tensor]] = {}

    def pack(self, kept: Tensor) -> _Kept:
        if kept.numel() < _WORTH or not runs_in_place(kept):
            return _Kept(kept, kept.dtype, kept._version)
        storage = kept.untyped_storage()
        place = storage._cdata, kept.storage_offset(), kept.shape, kept.stride(), kept.dtype, kept._version
        alive, small = self._bytes.get(place, (None, None))
        if alive is None or alive.expired():  # else the address is another tensor's by now
            small = exact_bytes(kept)
            if small is not None:
                self._bytes[place] = StorageWeakRef(storage), small
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
