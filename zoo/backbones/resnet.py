"""ResNet backbones: a stem, then d stages of paired residual blocks (paper section 3.4.2, fig. 2)."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from functools import partial
from typing import ClassVar, final

from torch import Tensor, nn

from zoo.backbones.layers import FusableSequential, PooledLinearHead, conv, spiking_avg_pool, spiking_conv, spiking_norm
from zoo.contracts.backbone import Backbone, BlockPlan, ClassifierHead, PairBuilder
from zoo.contracts.neuron import NeuronFactory
from zoo.cpu.private import parts_of
from zoo.errors import CompositionError

STEM_WIDTH = 64


@final
class AnalogStem(FusableSequential):
    """7×7 convolution, batch norm, ReLU, 3×3 max pooling: (N, C, H, W) → (N, width, H/4, W/4).

    A `small` one has a 3×3 convolution and no pooling: → (N, width, H, W).
    """

    def __init__(self, in_chans: int, width: int, small: bool) -> None:
        super().__init__()
        self.conv = conv(in_chans, width, 3) if small else conv(in_chans, width, 7, stride=2)
        self.bn = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)
        if not small:
            self.pool = nn.MaxPool2d(3, stride=2, padding=1)


@final
class SpikingStem(FusableSequential):
    """7×7 convolution, batch norm, neuron, 3×3 average pooling: (T, N, C, H, W) → (T, N, width, H/4, W/4).

    A `small` one has a 3×3 convolution and no pooling: → (T, N, width, H, W).
    """

    def __init__(self, in_chans: int, width: int, small: bool, neuron: NeuronFactory) -> None:
        super().__init__()
        self.conv = spiking_conv(in_chans, width, 3) if small else spiking_conv(in_chans, width, 7, stride=2)
        self.bn = spiking_norm(width)
        self.act = neuron()
        if not small:
            self.pool = spiking_avg_pool(3, stride=2, padding=1)


def _analog_layers(in_channels: int, width: int, kernel: int, stride: int) -> list[nn.Module]:
    return [conv(in_channels, width, kernel, stride), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]


def _spiking_layers(neuron: NeuronFactory, in_channels: int, width: int, kernel: int, stride: int) -> list[nn.Module]:
    return [spiking_conv(in_channels, width, kernel, stride), spiking_norm(width), neuron()]


@final
class Residual(nn.Module):
    """body(x) + shortcut(x), or body(x) + x; `widths` are the body's, kernel by kernel.

    The analog one, over (N, C, H, W), has its last ReLU behind the sum. The spiking one, over (T, N, C, H, W), adds
    spikes and does nothing after: SEW ADD (arXiv:2102.04159).
    """

    def __init__(
        self, in_channels: int, widths: Sequence[int], kernels: Sequence[int], stride: int, neuron: NeuronFactory | None
    ) -> None:
        super().__init__()
        layers = _analog_layers if neuron is None else partial(_spiking_layers, neuron)
        body: list[nn.Module] = []
        width_in = in_channels
        strided = kernels.index(3)
        for i, (width, kernel) in enumerate(zip(widths, kernels, strict=True)):
            body += layers(width_in, width, kernel, stride if i == strided else 1)
            width_in = width
        shortcut: list[nn.Module] = []
        if stride != 1 or in_channels != width_in:
            shortcut = layers(in_channels, width_in, 1, stride)
        act = None
        if neuron is None:  # the last ReLU stands behind the sum
            act = body.pop()
            shortcut = shortcut[:-1]
        self.body = FusableSequential(*body)
        if shortcut:
            self.shortcut = FusableSequential(*shortcut)
        if act is not None:
            self.act = act

    def forward(self, x: Tensor) -> Tensor:
        parts = parts_of(self)
        shortcut, act = parts.get("shortcut"), parts.get("act")
        total: Tensor = parts["body"](x) + (x if shortcut is None else shortcut(x))
        return total if act is None else act(total)


class ResidualBackbone(Backbone, ABC):
    """A stem, then stages i < d of width b·m^i and strides 1, 2, 2, … (eq. 21).

    Attributes:
        block_counts: blocks of each stage; None for two a stage and any depth.
        bottleneck: True if a block is a bottleneck, four times as wide at its end.
        small_stem: True for images of 32 pixels or so: a 3×3 stem, b wide, without pooling. The paper's stem, 64 wide,
            makes 8 pixels of 32 before the first block; this one keeps all of them.
        first_stride: of the first stage. All others have 2.
    """

    api_version = 1
    block_counts: ClassVar[tuple[int, ...] | None] = None
    bottleneck: ClassVar[bool] = False
    small_stem: ClassVar[bool] = False
    first_stride: ClassVar[int] = 1

    def __init__(self, base: int, mult: int, depth: int, in_chans: int) -> None:
        super().__init__(base, mult, depth, in_chans)
        if self.block_counts is not None and depth != len(self.block_counts):
            raise CompositionError(
                f"{type(self).__name__} has {len(self.block_counts)} stages of {self.block_counts} blocks: "
                f"it wants d{len(self.block_counts)}, not d{depth}"
            )

    @final
    def stages(self) -> list[list[BlockPlan]]:
        stem = (self.in_chans, self.base if self.small_stem else STEM_WIDTH, self.small_stem)
        stages = [[BlockPlan(partial(AnalogStem, *stem), partial(SpikingStem, *stem), stem[1])]]
        for i, count in enumerate(self.block_counts or (2,) * self.depth):
            width, width_in = self.base * self.mult**i, stages[-1][-1].out_channels
            widths = (width, width, 4 * width) if self.bottleneck else (width, width)
            kernels = (1, 3, 1) if self.bottleneck else (3, 3)
            stride = 2 if i else self.first_stride
            blocks = []
            for j in range(count):
                shape = (width_in, widths, kernels, 1 if j else stride)
                blocks.append(BlockPlan(partial(Residual, *shape, None), partial(Residual, *shape), widths[-1]))
                width_in = widths[-1]
            stages.append(blocks)
        return stages

    @final
    def reductions(self) -> list[int]:
        stem = 1 if self.small_stem else 4
        return [stem] + [stem * self.first_stride * 2**i for i in range(self.depth)]

    @final
    def head(self, num_classes: int, global_pool: str, pair: PairBuilder) -> ClassifierHead:
        return PooledLinearHead(self.stages()[-1][-1].out_channels, num_classes, global_pool)

    @final
    def first_convs(self) -> tuple[str, ...]:
        return ("conv",)


@final
class ResNetBackbone(ResidualBackbone):
    """Two basic blocks a stage."""


@final
class ResNetSmallBackbone(ResidualBackbone):
    """A small stem, strides 2, 2, 2, …: the first block halves the image, at a quarter of the cost of `resnetfull`."""

    small_stem = True
    first_stride = 2


@final
class ResNetFullBackbone(ResidualBackbone):
    """A small stem: the first stage keeps the image's full size, as ResNet-18 for CIFAR-10 commonly does."""

    small_stem = True


@final
class ResNet34Backbone(ResidualBackbone):
    """Basic blocks 3-4-6-3."""

    block_counts = (3, 4, 6, 3)


@final
class ResNet50Backbone(ResidualBackbone):
    """Bottlenecks 3-4-6-3; b64 is ResNet-50's width."""

    block_counts = (3, 4, 6, 3)
    bottleneck = True


@final
class ResNet101Backbone(ResidualBackbone):
    """Bottlenecks 3-4-23-3."""

    block_counts = (3, 4, 23, 3)
    bottleneck = True


@final
class ResNet152Backbone(ResidualBackbone):
    """Bottlenecks 3-8-36-3."""

    block_counts = (3, 8, 36, 3)
    bottleneck = True
