"""What a spiking branch keeps for its backward pass: not the planes, which are made anew where they are needed.

A convolution keeps its input for the gradient of its weight. In a branch that planes enter, they are T times as large
as the activation that they encode, which the encoder keeps anyway, and encoding that again takes a fraction of the
convolution's time.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.fx import Proxy
from torch.multiprocessing.reductions import StorageWeakRef

from zoo.cpu.chunks import runs_eagerly

_DEVICES = frozenset({"cpu", "cuda"})
"""Kinds of device on which encoding repeats itself bit for bit."""

_WORTH = 1 << 16
"""Values of planes; fewer are kept, as making them would be no faster than all that stands around it."""

Encode = Callable[[Tensor], Tensor]
"""x (N, …) → planes (T, N, …)."""


@final
class _Remade(NamedTuple):
    """How to make a view of planes that was not kept."""

    encode: Encode
    x: Tensor
    version: int
    strides: tuple[int, ...]
    """Of the planes."""
    view: tuple[torch.Size, tuple[int, ...]]
    offset: int
    """Values from the planes' first to the view's."""


@final
class _Kept(NamedTuple):
    """A tensor as torch keeps it."""

    values: Tensor
    version: int


def remaking(planes: Tensor, encode: Encode, x: Tensor) -> AbstractContextManager[object]:
    """A context in which autograd keeps no planes: for the branch that they enter.

    Gradients are the same bit for bit. It does nothing without gradients, while torch compiles or traces, in float64,
    off CPU and GPU, and where x needs no gradient, for then nothing else keeps it.

    Args:
        planes: (T, N, …), what the branch works on.
        encode: what made them of x, and makes them again, bit for bit.
        x: (N, …).
    """
    if not keeps_for_backward(planes) or not x.requires_grad or planes.numel() < _WORTH:
        return nullcontext()
    return saved_tensors_hooks(_Packer(planes, encode, x).pack, _unpack)


def keeps_for_backward(x: Tensor) -> bool:
    """Whether what works on x should mind what autograd keeps of it."""
    return not isinstance(x, Proxy) and torch.is_grad_enabled() and x.device.type in _DEVICES and runs_eagerly(x)


@final
class _Packer:
    """Tells planes by their memory, and as long as nobody has changed them."""

    def __init__(self, planes: Tensor, encode: Encode, x: Tensor) -> None:
        self._planes = StorageWeakRef(planes.untyped_storage()), planes._version
        self._strides, self._offset = planes.stride(), int(planes.storage_offset())
        self._source = encode, x.detach(), x._version

    def pack(self, tensor: Tensor) -> _Remade | _Kept:
        if (StorageWeakRef(tensor.untyped_storage()), tensor._version) != self._planes:
            return _Kept(tensor, tensor._version)
        offset = int(tensor.storage_offset()) - self._offset
        return _Remade(*self._source, self._strides, (tensor.shape, tensor.stride()), offset)


def _unpack(record: _Remade | _Kept) -> Tensor:
    values = record.x if isinstance(record, _Remade) else record.values
    if values._version != record.version:  # torch's own check is not made on what a hook returns
        raise RuntimeError(
            "a tensor that the backward pass of a spiking branch needs was changed in place after it was used; "
            "write the branch without that in-place operation"
        )
    return _made_again(record) if isinstance(record, _Remade) else values


def _made_again(record: _Remade) -> Tensor:
    with torch.no_grad():
        planes = record.encode(record.x)
    if planes.stride() != record.strides:  # in another order than the first time
        planes = planes.new_empty_strided(planes.shape, record.strides).copy_(planes)
    return planes.as_strided(*record.view, planes.storage_offset() + record.offset)
