"""Weights of fused convolutions in oneDNN's own order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from zoo.cpu import private
from zoo.cpu.conv import Pair, centre, goes_to_onednn

_Run = Callable[[Tensor, Tensor | None], Tensor]
"""Maps and a bias → the convolution."""


@final
class PackedWeight:
    """A folded weight in oneDNN's own order, into which torch else copies it on every call.

    It is kept until maps have another shape or the weight changes. torch counts changes, but not those of its fused
    optimisers, or by `weight.data`, a storage or numpy. So from the first call that records gradients of the weight on
    nothing is kept: every call packs, with the same result. Copies and pickles are empty and keep again.
    """

    def __init__(self) -> None:
        self._keeps = True
        self._last: Any = (None, None, None, None)

    def __reduce__(self) -> tuple[type[PackedWeight], tuple[()]]:
        return PackedWeight, ()

    def stop_keeping(self) -> None:
        """Pack on every call from now on, since the weight may be about to learn."""
        self._keeps = False
        self._last = (None, None, None, None)

    def serves(self, x: Tensor, weight: Tensor) -> bool:
        """True if maps (N, C, H, W) are convolved by it: without gradients, pixels last, in float32 on the CPU."""
        if torch.is_grad_enabled():
            if weight.requires_grad:
                self.stop_keeping()
            return False
        if not private.CAN_PACK or x.dim() != 4 or not goes_to_onednn(x, weight):
            return False
        return x.is_contiguous(memory_format=torch.channels_last)  # else there are few pixels: see `pixels_last`

    def convolve(self, conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve x by oneDNN, which rounds a map alike in batches of any size."""
        if not self._keeps or weight.is_inference():  # torch counts no changes of an inference tensor
            return _pack(conv, weight.detach(), x.shape)(x, bias)
        shape, source, version, run = self._last  # `source` keeps its memory from being given to another weight
        changes = private.version_of(weight)
        if shape != x.shape or source.data_ptr() != weight.data_ptr() or version != changes:
            run = _pack(conv, weight.detach(), x.shape)
            self._last = x.shape, weight.detach(), changes, run
        return cast(Tensor, run(x, bias))


def _pack(conv: nn.Conv2d, weight: Tensor, shape: torch.Size) -> _Run:
    stride, padding = cast(Pair, conv.stride), cast(Pair, conv.padding)
    if shape[2] == shape[3] == 1:
        weight, stride, padding = centre(weight, padding), (1, 1), (0, 0)
    settings = padding, stride, (1, 1), conv.groups
    packed = private.pack(weight, *settings, shape)
    return lambda x, bias: private.convolve_packed(x, packed, bias, *settings)
