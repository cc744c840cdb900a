"""Layers that the paired blocks share: each an analog and a spiking form of one thing.

Convolutions go around faults of torch's CPU kernels. Two give wrong gradients of the weight without an error (seen with
torch 2.13 on CPUs with AVX-512):

- 1×1 with a stride, under 16 input channels, pixels last in memory: oneDNN writes up to 64 KB behind its buffer;
- a larger kernel with a stride, on a map narrower than the stride, in bfloat16: parts of it are not written.

Two only take time. On maps of one pixel, the centre of a 3×3 kernel is all that counts, and torch takes nine times as
long; backward on maps of 2×2 pixels it takes two to four times as long as products of matrices.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, cast, final

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn.functional import conv2d

from zoo.contracts.backbone import ClassifierHead
from zoo.kernels import functions
from zoo.kernels.functions import TYPES, operations_are_counted, serves

Pair = tuple[int, int]
"""Of rows and columns."""

MANY_CHANNELS, _FEW_PIXELS = 384, 4
"""Maps of so many channels and so few pixels oneDNN convolves in blocks of its own, by a quarter to a third faster."""

_FEW_CHANNELS = 16
"""Input channels from which the 1×1 kernel with a stride is sound."""

_ONEDNN = torch.backends.mkldnn.is_available()

_MANY_MAPS = 64
"""Maps from which products of matrices take less time backward than a convolution."""

_SMALL_INPUT = 20480
"""Values up to which torch convolves a single float32 image by another kernel on the CPU."""


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
    if is_functorch_wrapped_tensor(images):
        return images
    _, channels, height, width = images.shape
    if height * width <= _FEW_PIXELS and channels >= MANY_CHANNELS:
        return images.contiguous()
    return images.contiguous(memory_format=torch.channels_last)


torch.fx.wrap("pixels_last")  # which takes it as one operation where it is called as `layers.pixels_last`


def convolve(conv: nn.Conv2d, x: Tensor, alone: bool = False) -> Tensor:
    """Convolve x, (N, C, H, W) → (N, C', H', W'), with sound gradients, within rounding as torch does.

    A single image is `alone` if it is to be rounded as within a batch.
    """
    parameters: dict[str, Any] = conv._parameters  # `conv.weight` takes ten times as long, which small maps feel
    weight, bias = parameters.get("weight"), parameters.get("bias")
    if weight is None or "bias" not in parameters:  # pruned, or reparametrised
        weight, bias = conv.weight, conv.bias
    packed: PackedWeight | None = conv.__dict__.get("packed")
    if packed is not None:
        if torch.is_grad_enabled() and weight.requires_grad:
            packed.stop_keeping()
        elif x.dim() == 4 and _goes_to_onednn(x, weight):
            return packed.convolve(conv, x, weight, bias)
    if not is_centred(conv) or x.dim() != 4 or not x.is_cpu:
        return nn.Conv2d.forward(conv, x)
    kernel, stride, padding = conv.kernel_size, cast(Pair, conv.stride), cast(Pair, conv.padding)
    height, width = x.shape[2:]
    large = height > 1 < width and kernel != (1, 1) and stride in ((1, 1), (2, 2))
    if large and (alone or x.shape[0] > 1) and _goes_to_onednn(x, weight):
        return torch.mkldnn_convolution(x, weight, bias, padding, stride, (1, 1), conv.groups)
    if operations_are_counted() or (not alone and stride == (1, 1) and width > kernel[1]):
        return conv2d(x, weight, bias, stride, padding, groups=conv.groups)
    if alone and (torch.compiler.is_compiling() or not torch._C._len_torch_dispatch_stack()):
        return convolve(conv, torch.cat((x, x)))[:1]
    return _convolve_soundly(conv, x, weight, bias)


def is_centred(conv: nn.Conv2d) -> bool:
    """True for a kernel without gaps, of odd size, whose centre meets every pixel of a map padded with zeros."""
    rows, columns = conv.kernel_size
    odd = rows % 2 == columns % 2 == 1 and conv.padding == (rows // 2, columns // 2)
    return odd and conv.dilation == (1, 1) and conv.padding_mode == "zeros"


def _convolve_soundly(conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    stride, padding = cast(Pair, conv.stride), cast(Pair, conv.padding)
    height, width = x.shape[2:]
    if padding == (0, 0):
        if stride != (1, 1) and conv.in_channels // conv.groups < _FEW_CHANNELS:
            x, stride = x[..., :: stride[0], :: stride[1]], (1, 1)
    elif height == width == 1 and not torch.compiler.is_compiling():
        weight, stride, padding = _centre(weight, padding), (1, 1), (0, 0)  # once, for backward too
    else:  # a smaller one where the output is one pixel wide
        stride = (min(stride[0], height), min(stride[1], width))
    records = torch.is_grad_enabled() and serves(x) and serves(weight)  # first: a size of x fixes it for torch.export
    if records and len(x) >= _MANY_MAPS and bias is None and conv.groups == 1:
        reach = zip(padding, x.shape[2:], weight.shape[2:], strict=True)
        if all(pad + size <= taps for pad, size, taps in reach):
            if torch.is_autocast_enabled("cpu"):
                x, weight = (each.to(torch.get_autocast_dtype("cpu")) for each in (x, weight))
            return cast(Tensor, _SmallMaps.apply(x, weight, stride, padding))
    return conv2d(x, weight, bias, stride, padding, groups=conv.groups)


def _goes_to_onednn(x: Tensor, weight: Tensor) -> bool:
    """True if torch hands a batch like x to oneDNN, and no gradient is recorded."""
    if torch.is_grad_enabled() or type(weight) is not nn.Parameter or not x.dtype == weight.dtype == torch.float32:
        return False
    if not serves(x) or torch.is_autocast_enabled("cpu") or not (_ONEDNN and torch._C._get_mkldnn_enabled()):
        return False
    return not torch._C._len_torch_dispatch_stack()  # FlopCounterMode knows no convolution by oneDNN's name


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

    def convolve(self, conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Convolve x by oneDNN, which rounds a map alike in batches of any size."""
        if not self._keeps or weight.is_inference():  # torch counts no changes of an inference tensor
            return _packed(conv, weight.detach(), x.shape)(x, bias)
        shape, source, version, run = self._last  # `source` keeps its memory from being given to another weight
        if shape != x.shape or source.data_ptr() != weight.data_ptr() or version != weight._version:
            run = _packed(conv, weight.detach(), x.shape)
            self._last = x.shape, weight.detach(), weight._version, run
        return cast(Tensor, run(x, bias))


def _packed(conv: nn.Conv2d, weight: Tensor, shape: torch.Size) -> Callable[[Tensor, Tensor | None], Tensor]:
    stride, padding, groups = cast(Pair, conv.stride), cast(Pair, conv.padding), conv.groups
    if shape[2] == shape[3] == 1:
        weight, stride, padding = _centre(weight, padding), (1, 1), (0, 0)
    onednn = torch.ops.mkldnn
    run = onednn._convolution_pointwise.default
    packed = onednn._reorder_convolution_weight(weight, padding, stride, (1, 1), groups, shape)
    return lambda x, bias: cast(Tensor, run(x, packed, bias, padding, stride, (1, 1), groups, "none", [], ""))


def _centre(weight: Tensor, padding: Pair) -> Tensor:
    """The part of a kernel that meets a map of one pixel."""
    return weight.narrow(2, padding[0], 1).narrow(3, padding[1], 1).contiguous()


@final
class _SmallMaps(torch.autograd.Function):
    """A convolution every output pixel of which sees the whole map: a dense layer, parts of whose weight are shared.

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
            settings = (None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1, (of_x, of_weight, False))
            return *torch.ops.aten.convolution_backward(grad, x, weight, *settings)[:2], None, None
        maps, channels, height, width = x.shape
        rows, columns = (  # of the kernel that meet the map, for every output pixel
            [slice(pad - pixel * step, pad - pixel * step + size) for pixel in range(count)]
            for pad, step, size, count in zip(ctx.padding, ctx.stride, (height, width), grad.shape[2:], strict=True)
        )
        parts = [(..., *part) for part in itertools.product(rows, columns)]
        flat, dx, dweight = grad.permute(0, 2, 3, 1).reshape(maps, -1), None, None
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


class GuardedConv2d(nn.Conv2d):
    """torch's convolution over (N, C, H, W), by `convolve`."""

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self, x)


@final
class Conv2d(GuardedConv2d):
    """A convolution that rounds a single small image as it rounds it within a batch.

    torch hands a single small image to another CPU kernel than a batch (ATen's `use_mkldnn`). The last bit that
    differs is enough to flip a bit plane behind it, and a flipped plane 7 is half the range: so a single small image
    goes to oneDNN by name, or as a batch of two. Not while operations are counted. Linear layers, and on one thread
    1×1 convolutions, still round by their number of rows.
    """

    def forward(self, x: Tensor) -> Tensor:
        return convolve(self, x, alone=x.shape[0] == 1 and x.numel() <= _SMALL_INPUT)


@final
class GuardedSpikingConv2d(layer.Conv2d):
    """spikingjelly's convolution, over (T, N, C, H, W) in multi-step mode, by `convolve`."""

    def forward(self, x: Tensor) -> Tensor:
        if self.step_mode == "s":
            return convolve(self, x)
        if x.dim() != 5:  # spikingjelly's to refuse
            return cast(Tensor, super().forward(x))
        return convolve(self, x.flatten(0, 1)).unflatten(0, x.shape[:2])


CONVOLUTIONS = (GuardedConv2d, Conv2d, GuardedSpikingConv2d)
"""Layers that convolve by `convolve`."""

_GUARDED: dict[type[nn.Module], type[Any]] = {nn.Conv2d: GuardedConv2d, layer.Conv2d: GuardedSpikingConv2d}


def guard_convolutions(network: nn.Module) -> None:
    """Make a network convolve by kernels whose gradients are sound, in place.

    Its convolutions with a stride stay the same objects, with their parameters, names and hooks. Subclasses of torch's
    and spikingjelly's, such as timm's with padding `same`, are left alone.
    """
    for module in network.modules():
        guarded = _GUARDED.get(type(module))
        if guarded is not None and cast(nn.Conv2d, module).stride != (1, 1):
            module.__class__ = guarded


class Whole(nn.Sequential):
    """Layers that only run all together: `fuse` may leave those out that it folds."""


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias over (N, C, H, W), padded by half its kernel."""
    return Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


def spiking_conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """The same over (T, N, C, H, W): T·N is its batch."""
    shape = (in_channels, out_channels, kernel, stride)
    conv: nn.Conv2d = GuardedSpikingConv2d(*shape, padding=kernel // 2, bias=False, step_mode="m")
    return conv


def spiking_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm over (T, N, C, H, W), statistics over T·N and pixels."""
    norm: nn.BatchNorm2d = layer.BatchNorm2d(channels, step_mode="m")
    return norm


@final
class SpikingAvgPool2d(layer.AvgPool2d):
    """Average pooling over (T, N, C, H, W) that keeps no spikes for its backward pass: their shape is enough."""

    def __init__(self, kernel: int, stride: int, padding: int) -> None:
        super().__init__(kernel, stride, padding, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        if self.step_mode == "s" or not serves(x):
            return cast(Tensor, super().forward(x))
        images = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        pooled = functions.average_pool(images, self.kernel_size, self.stride, self.padding)
        return pooled.unflatten(0, x.shape[:2])


def spiking_avg_pool(kernel: int, stride: int | None = None, padding: int = 0) -> nn.AvgPool2d:
    """Average pooling over (T, N, C, H, W); the stride is the kernel by default."""
    pool: nn.AvgPool2d = SpikingAvgPool2d(kernel, stride or kernel, padding)
    return pool


def spiking_linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer over (T, N, C)."""
    linear: nn.Linear = layer.Linear(in_features, out_features, step_mode="m")
    return linear


def pooled(x: Tensor, global_pool: str) -> Tensor:
    """(N, C, H, W) → (N, C) by the mean over pixels, or unchanged if `global_pool` is ''."""
    return x.mean((2, 3)) if global_pool else x


@final
class PooledLinearHead(ClassifierHead):
    """Global average pooling and one linear layer, in neither branch."""

    def __init__(self, num_features: int, num_classes: int, global_pool: str) -> None:
        super().__init__()
        self.num_features = self.hidden_size = num_features
        self.global_pool = global_pool
        self.fc: nn.Module = nn.Identity()
        self.reset_classes(num_classes)

    def reset_classes(self, num_classes: int) -> None:
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def classifier(self) -> nn.Module:
        return self.fc

    def classifier_names(self) -> tuple[str, ...]:
        return ("fc",)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = pooled(x, self.global_pool)
        return x if pre_logits else self.fc(x)
