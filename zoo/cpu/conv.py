"""Convolutions as layers: torch's and spikingjelly's own, which convolve by `convolve`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, final

from spikingjelly.activation_based import layer
from torch import Tensor, nn

from zoo.cpu import guards
from zoo.cpu.functions import operations_are_counted
from zoo.cpu.private import weight_and_bias

if TYPE_CHECKING:
    from zoo.cpu.packed import PackedWeight


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolve x, (N, C, H, W) → (N, C', H', W'), with sound gradients, within rounding as torch does."""
    weight, bias = weight_and_bias(conv)
    packed: PackedWeight | None = conv.__dict__.get("packed")
    if packed is not None and packed.serves(x, weight):
        return packed.convolve(conv, x, weight, bias)
    if x.dim() != 4 or not x.is_cpu or not is_centred(conv) or operations_are_counted():
        return nn.Conv2d.forward(conv, x)
    stride, padding = cast(guards.Pair, conv.stride), cast(guards.Pair, conv.padding)
    return guards.convolve(x, weight, bias, stride, padding, conv.groups)


def is_centred(conv: nn.Conv2d) -> bool:
    """True for a kernel without gaps, of odd size, whose centre meets every pixel of a map padded with zeros."""
    rows, columns = conv.kernel_size
    odd = rows % 2 == columns % 2 == 1 and conv.padding == (rows // 2, columns // 2)
    return odd and conv.dilation == (1, 1) and conv.padding_mode == "zeros"


@final
class Conv2d(nn.Conv2d):
    """torch's convolution over (N, C, H, W), by `convolve`."""

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self, x)


@final
class SpikingConv2d(layer.Conv2d):
    """spikingjelly's convolution, over (T, N, C, H, W) in multi-step mode, by `convolve`."""

    def forward(self, x: Tensor) -> Tensor:
        if self.step_mode == "s":
            return convolve(self, x)
        if x.dim() != 5:  # spikingjelly's to refuse
            return cast(Tensor, super().forward(x))
        return convolve(self, x.flatten(0, 1)).unflatten(0, x.shape[:2])


CONVOLUTIONS = (Conv2d, SpikingConv2d)
"""Layers that convolve by `convolve`."""

_GUARDED: dict[type[nn.Module], type[Any]] = {nn.Conv2d: Conv2d, layer.Conv2d: SpikingConv2d}


def guard_convolutions(network: nn.Module) -> None:
    """Make a network convolve by kernels whose gradients are sound, in place.

    Its convolutions with a stride stay the same objects, with their parameters, names and hooks. Subclasses of torch's
    and spikingjelly's, such as timm's with padding `same`, are left alone.
    """
    for module in network.modules():
        guarded = _GUARDED.get(type(module))
        if guarded is not None and cast(nn.Conv2d, module).stride != (1, 1):
            module.__class__ = guarded
