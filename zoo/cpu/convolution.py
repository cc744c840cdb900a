"""Convolutions that go around two faults of torch's CPU kernels.

Both faults lie in the gradient of the weight (seen with torch 2.13 on CPUs with AVX-512), and both give no error:

- 1×1 with a stride, under 16 input channels, pixels last in memory: oneDNN writes up to 64 KB behind its buffer.
- A larger kernel with a stride, on a map narrower than the stride, in bfloat16: parts of it are not written.

Neither is met by the gradient of the same convolution over every second pixel, or with a stride as wide as the map.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn
from torch.nn.functional import conv2d

from zoo.cpu.chunks import is_transformed

_FEW_CHANNELS = 16
"""Input channels from which the 1×1 kernel with a stride is sound."""

_convolution_backward = torch.ops.aten.convolution_backward


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """What `conv` makes of x, (N, C, H, W) → (N, C', H', W'), so that its gradients are sound.

    Outputs are torch's own, bit for bit, but for 1×1 kernels within torch.func or torch.jit.trace, and for maps
    narrower than the stride where gradients are asked for.
    """
    if x.device.type != "cpu" or not (torch.is_grad_enabled() and conv.weight.requires_grad):
        return nn.Conv2d.forward(conv, x)
    if _skips_pixels(conv):
        return _convolve_some_pixels(conv, x)
    if _is_centred(conv) and (x.shape[2] < conv.stride[0] or x.shape[3] < conv.stride[1]):
        stride = (min(conv.stride[0], x.shape[2]), min(conv.stride[1], x.shape[3]))  # the output is one pixel wide
        return conv2d(x, conv.weight, conv.bias, stride, conv.padding, groups=conv.groups)
    return nn.Conv2d.forward(conv, x)


def _skips_pixels(conv: nn.Conv2d) -> bool:
    """Whether a convolution is 1×1 with a stride and few input channels."""
    shape = (conv.kernel_size, conv.padding, conv.padding_mode)
    few = conv.in_channels // conv.groups < _FEW_CHANNELS
    return few and shape == ((1, 1), (0, 0), "zeros") and conv.stride != (1, 1)


def _is_centred(conv: nn.Conv2d) -> bool:
    """Whether a convolution with a stride pads half of its kernel: the output on a narrow map is one pixel wide."""
    half = tuple(size // 2 for size in conv.kernel_size)
    odd = all(size % 2 for size in conv.kernel_size)
    plain = (conv.dilation, conv.padding, conv.padding_mode) == ((1, 1), half, "zeros")
    return odd and plain and max(conv.kernel_size) > 1 and conv.stride != (1, 1)


def _convolve_some_pixels(conv: nn.Conv2d, x: Tensor) -> Tensor:
    rows, columns = conv.stride
    if _is_traced_or_transformed(x):
        return conv2d(x[..., ::rows, ::columns], conv.weight, conv.bias, groups=conv.groups)
    weight, bias = conv.weight, conv.bias
    if torch.is_autocast_enabled("cpu"):  # what autocast would do on the way into torch's own
        dtype = torch.get_autocast_dtype("cpu")
        x, weight, bias = x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    return cast(Tensor, _StridedPointwise.apply(x, weight, bias, (rows, columns), conv.groups))


def _is_traced_or_transformed(x: Tensor) -> bool:
    """Whether torch.jit traces, which counts operations, or torch.func transforms: neither sees into a Function."""
    if torch.compiler.is_compiling():  # torch.compile does
        return False
    return torch.jit.is_tracing() or is_transformed(x)  # type: ignore[attr-defined]


class _StridedPointwise(torch.autograd.Function):
    """A 1×1 convolution with a stride, as torch rounds it; its gradients are taken over the pixels in use alone."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int], groups: int
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.groups, ctx.biases = stride, groups, None if bias is None else [len(bias)]
        return conv2d(x, weight, bias, stride, groups=groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        rows, columns = ctx.stride
        settings = ((1, 1), (0, 0), (1, 1), False, (0, 0), ctx.groups, list(ctx.needs_input_grad[:3]))
        of_pixels, of_weight, of_bias = _convolution_backward(
            gradient, x[..., ::rows, ::columns], weight, ctx.biases, *settings
        )
        of_input = None
        if of_pixels is not None:
            of_input = torch.zeros_like(x)
            of_input[..., ::rows, ::columns] = of_pixels
        return of_input, of_weight, of_bias, None, None


class GuardedConv2d(nn.Conv2d):
    """torch's convolution over (N, C, H, W), by kernels whose gradients are sound."""

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self, x)


class GuardedSpikingConv2d(layer.Conv2d):
    """spikingjelly's convolution, over (T, N, C, H, W) in multi-step mode, by kernels whose gradients are sound."""

    def forward(self, x: Tensor) -> Tensor:
        if self.step_mode == "s" or x.dim() != 5:  # a wrong rank is spikingjelly's to refuse
            return convolve(self, x) if self.step_mode == "s" else cast(Tensor, super().forward(x))
        return cast(Tensor, functional.seq_to_ann_forward(x, (partial(convolve, self),)))

    def plain(self) -> layer.Conv2d:
        """The same as spikingjelly's own layer, with the same parameters."""
        sizes = (self.in_channels, self.out_channels, self.kernel_size, self.stride, self.padding, self.dilation)
        conv = layer.Conv2d(*sizes, self.groups, self.bias is not None, self.padding_mode, self.step_mode)
        conv.weight, conv.bias = self.weight, self.bias
        return conv


_GUARDED: dict[type[nn.Module], type[Any]] = {nn.Conv2d: GuardedConv2d, layer.Conv2d: GuardedSpikingConv2d}


def guard_convolutions(network: nn.Module) -> None:
    """Let a network convolve by kernels whose gradients are sound, in place, wherever its layers come from.

    Its convolutions with a stride stay the objects that they are, with their parameters, names and hooks; see
    `unguarded_convolutions` for those that are left.
    """
    for module in network.modules():
        guarded = _GUARDED.get(type(module))
        if guarded is not None and cast(nn.Conv2d, module).stride != (1, 1):
            module.__class__ = guarded


def unguarded_convolutions(network: nn.Module) -> list[str]:
    """Names of the convolutions with a stride whose class is neither torch's, nor spikingjelly's, nor the zoo's."""
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
        and module.stride != (1, 1)
        and not isinstance(module, (GuardedConv2d, GuardedSpikingConv2d))
    ]
