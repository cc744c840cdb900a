"""Convolutions around faults of torch's CPU kernels, their layers, and the order in which maps lie in memory.

`python -m tools.torch_faults` tells which faults the installed torch has. Seen with torch 2.13 on CPUs with AVX-512:

- a 1×1 kernel with a stride, under 16 input channels, pixels last in memory: going backward, oneDNN writes up to 64 KB
  behind its buffer;
- a larger kernel with a stride, on a map narrower than the stride, in bfloat16: parts of the weight's gradient are not
  written;
- a single float32 image of up to 20,480 values is convolved by another kernel than a batch (ATen's `use_mkldnn`). The
  last bit that differs may flip a bit plane behind it, and a flipped plane 7 is half the range;
- on maps of one pixel all but the centre of a 3×3 kernel is multiplied by zeros;
- backward on maps of 2×2 pixels takes two to four times as long as products of matrices.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, cast, final

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn
from torch.nn.functional import conv2d

from zoo.cpu.functions import TYPES, is_plain, operations_are_counted
from zoo.cpu.private import is_transformed, onednn_is_on, weight_and_bias

if TYPE_CHECKING:
    from zoo.cpu.packed import PackedWeight

Pair = tuple[int, int]
"""Of rows and columns."""

_FEW_CHANNELS = 16
"""Input channels from which the 1×1 kernel with a stride is sound."""

_SMALL_INPUT = 20480
"""Values up to which torch convolves a single image by another kernel."""

_MANY_MAPS = 64
"""Maps from which products of matrices take less time backward than a convolution."""


def goes_to_onednn(x: Tensor, weight: Tensor) -> bool:
    """True if torch hands a float32 batch like x to oneDNN."""
    if not x.dtype == weight.dtype == torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    return is_plain(x) and is_plain(weight) and onednn_is_on()


def sound_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, groups: int
) -> Tensor:
    """Convolve x, (N, C, H, W) → (N, C', H', W'), by a kernel of odd size that is padded by its half.

    Gradients are sound, and a single image is rounded as within a batch: it goes to oneDNN by name. Linear layers, and
    on one thread 1×1 convolutions, still round by their number of rows.
    """
    if stride != (1, 1) or x.shape[3] <= weight.shape[3]:
        x, weight, stride, padding = _sound(x, weight, stride, padding)
        if bias is None and groups == 1 and _kernel_covers_map(x, weight, padding):
            if torch.is_autocast_enabled("cpu"):
                dtype = torch.get_autocast_dtype("cpu")
                x, weight = x.to(dtype), weight.to(dtype)
            return cast(Tensor, _SmallMaps.apply(x, weight, stride, padding))
    if x.shape[0] != 1 or x.numel() > _SMALL_INPUT:
        return conv2d(x, weight, bias, stride, padding, groups=groups)
    if goes_to_onednn(x, weight) and weight.shape[2:] != (1, 1):
        return torch.mkldnn_convolution(x, weight, bias, padding, stride, (1, 1), groups)
    # A product of matrices rounds a single row otherwise than two; so do runtimes that a network is exported to.
    if goes_to_onednn(x, weight) or torch.compiler.is_compiling():
        return conv2d(torch.cat((x, x)), weight, bias, stride, padding, groups=groups)[:1]
    return conv2d(x, weight, bias, stride, padding, groups=groups)


def _sound(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> tuple[Tensor, Tensor, Pair, Pair]:
    """The same convolution in a form that torch computes right."""
    height, width = x.shape[2:]
    if padding == (0, 0):
        if stride != (1, 1) and weight.shape[1] < _FEW_CHANNELS:
            return x[..., :: stride[0], :: stride[1]], weight, (1, 1), padding
        return x, weight, stride, padding
    if height == width == 1 and not torch.compiler.is_compiling():
        return x, centre(weight, padding), (1, 1), (0, 0)
    return x, weight, (min(stride[0], height), min(stride[1], width)), padding


def centre(weight: Tensor, padding: Pair) -> Tensor:
    """The part of a kernel that meets a map of one pixel."""
    return weight.narrow(2, padding[0], 1).narrow(3, padding[1], 1).contiguous()


def _kernel_covers_map(x: Tensor, weight: Tensor, padding: Pair) -> bool:
    """True if every output pixel sees the whole map, and a backward pass over so many maps may come."""
    if not (torch.is_grad_enabled() and is_plain(x) and is_plain(weight)):  # torch.export fixes a size that is read
        return False
    if len(x) < _MANY_MAPS:
        return False
    reach = zip(padding, x.shape[2:], weight.shape[2:], strict=True)
    return all(pad + size <= taps for pad, size, taps in reach)


@final
class _SmallMaps(torch.autograd.Function):
    """Convolution whose kernel covers the map: a dense layer that shares parts of its weight.

    Forward is torch's; backward is the dense layer's, two products of matrices.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return conv2d(x, weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (grad,) = ctx.saved_tensors, grads
        of_x, of_weight, *_ = ctx.needs_input_grad
        if torch.is_grad_enabled():
            dx, dweight, _ = torch.ops.aten.convolution_backward(
                grad,
                x,
                weight,
                bias_sizes=None,
                stride=ctx.stride,
                padding=ctx.padding,
                dilation=(1, 1),
                transposed=False,
                output_padding=(0, 0),
                groups=1,
                output_mask=(of_x, of_weight, False),
            )
            return dx, dweight, None, None
        maps, channels, height, width = x.shape
        rows, columns = (  # of the kernel that meet the map, for every output pixel
            [slice(pad - pixel * step, pad - pixel * step + size) for pixel in range(count)]
            for pad, step, size, count in zip(ctx.padding, ctx.stride, (height, width), grad.shape[2:], strict=True)
        )
        parts = [(..., *part) for part in itertools.product(rows, columns)]
        flat = grad.permute(0, 2, 3, 1).reshape(maps, -1)
        dx, dweight = None, None
        if of_x:
            dense = torch.cat([weight[part].permute(0, 2, 3, 1).flatten(1) for part in parts])
            dx = (flat @ dense).view(maps, height, width, channels).permute(0, 3, 1, 2)
        if of_weight:
            dense = flat.t() @ x.permute(0, 2, 3, 1).reshape(maps, -1)
            total = torch.zeros(*weight.shape[2:], *weight.shape[:2]).permute(2, 3, 0, 1)
            for part, share in zip(parts, dense.view(len(parts), -1, height, width, channels), strict=True):
                total[part] += share.permute(0, 3, 1, 2)
            dweight = total.to(weight.dtype)
        return dx, dweight, None, None


# Layers ---------------------------------------------------------------------------------------------------------------


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolve x, (N, C, H, W) → (N, C', H', W'), with sound gradients, within rounding as torch does."""
    weight, bias = weight_and_bias(conv)
    packed: PackedWeight | None = conv.__dict__.get("packed")
    if packed is not None and packed.serves(x, weight):
        return packed.convolve(conv, x, weight, bias)
    if x.dim() != 4 or not x.is_cpu or not is_centred(conv) or operations_are_counted():
        return nn.Conv2d.forward(conv, x)
    stride, padding = cast(Pair, conv.stride), cast(Pair, conv.padding)
    return sound_convolution(x, weight, bias, stride, padding, conv.groups)


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


# Order in memory ------------------------------------------------------------------------------------------------------

MANY_CHANNELS, _FEW_PIXELS = 384, 4
"""Maps of so many channels and so few pixels oneDNN convolves in blocks of its own, up to three times as fast."""


def pixels_last(images: Tensor) -> Tensor:
    """The same (N, C, H, W), channel by channel within a pixel (channels_last), on the CPU in float32 or narrower.

    Every layer behind it keeps that order; convolutions, norms and pooling are faster in it than in torch's default,
    but for wide maps of a few pixels, which are brought into that one. While operations are counted there is nothing
    to gain.
    """
    if not images.is_cpu or images.dtype not in TYPES or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return images
    if torch.compiler.is_compiling():
        return images.contiguous(memory_format=torch.channels_last)
    if is_transformed(images):
        return images
    _, channels, height, width = images.shape
    if height * width <= _FEW_PIXELS and channels >= MANY_CHANNELS:
        return images.contiguous()
    return images.contiguous(memory_format=torch.channels_last)


torch.fx.wrap("pixels_last")  # which takes it as one operation if it is called as `conv.pixels_last`
