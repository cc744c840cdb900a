"""The backbone `fast`, after airbench (arXiv:2404.00498): a whitened first layer, then groups that pool early.

`ann_fast_b64_m4_d3` has the widths of airbench94, `ann_fast_b128_m3_d3` those of airbench95.
"""

from __future__ import annotations

from functools import partial
from typing import final

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from zoo.blocks import LinearHead, Whole, conv, spiking_conv, spiking_norm
from zoo.contracts import Backbone, BlockPlan, ClassifierHead, FirstLayer, NeuronFactory, PairBuilder

_PATCH = 2
_LEAST_VARIANCE = 3e-5
"""Added to the variance of a direction of patches, of pixels in [0, 1], so that noise is not blown up."""
_LOGIT_SCALE = 1 / 9


@final
class WhiteningConv(FirstLayer, nn.Conv2d):
    """2×2 convolution to 2·4·C channels: patches in the directions of their variance, scaled to unit variance, and −.

    It starts at random like any other; training sets it from images.
    """

    def __init__(self, in_chans: int) -> None:
        super().__init__(in_chans, 2 * in_chans * _PATCH**2, _PATCH)

    @torch.no_grad()
    def set_from(self, images: Tensor) -> None:
        """Set weight and bias from images (N, C, H, W), and freeze the weight."""
        windows = images.double().unfold(2, _PATCH, 1).unfold(3, _PATCH, 1)
        patches = windows.permute(0, 2, 3, 1, 4, 5).flatten(0, 2).flatten(1)
        mean = patches.mean(0)
        centred = patches - mean
        variances, directions = torch.linalg.eigh(centred.t() @ centred / len(centred))
        rows = (directions / (variances + _LEAST_VARIANCE).sqrt()).t()
        rows = torch.cat((rows, -rows))
        self.weight.copy_(rows.view_as(self.weight))
        assert self.bias is not None
        self.bias.copy_(-(rows @ mean))
        self.weight.requires_grad_(False)


@final
class AnalogStem(Whole):
    """Whitening convolution, ReLU: (N, C, H, W) → (N, 8·C, H, W); the right and lower edges are repeated."""

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        self.pad = nn.ReplicationPad2d((0, _PATCH - 1, 0, _PATCH - 1))
        self.conv = WhiteningConv(in_chans)
        self.act = nn.ReLU(inplace=True)


@final
class SpikingStem(Whole):
    """3×3 convolution, batch norm, neuron: (T, N, C, H, W) → (T, N, 8·C, H, W). Bit planes are not whitened."""

    def __init__(self, in_chans: int, neuron: NeuronFactory) -> None:
        super().__init__()
        width = 2 * in_chans * _PATCH**2
        self.conv = spiking_conv(in_chans, width, 3)
        self.bn = spiking_norm(width)
        self.act = neuron()


@final
class AnalogGroup(Whole):
    """Convolution, 2×2 max pooling, norm, ReLU, convolution, norm, ReLU: (N, C, H, W) → (N, width, H/2, W/2)."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = _pass_through(conv(in_channels, width, 3))
        self.pool = nn.MaxPool2d(2)
        self.bn1 = _norm_without_gain(width)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2 = _pass_through(conv(width, width, 3))
        self.bn2 = _norm_without_gain(width)
        self.act2 = nn.ReLU(inplace=True)


@final
class SpikingGroup(Whole):
    """The same over (T, N, C, H, W), with neurons."""

    def __init__(self, in_channels: int, width: int, neuron: NeuronFactory) -> None:
        super().__init__()
        self.conv1 = _pass_through(spiking_conv(in_channels, width, 3))
        self.pool = layer.MaxPool2d(2, step_mode="m")
        self.bn1 = spiking_norm(width)
        self.act1 = neuron()
        self.conv2 = _pass_through(spiking_conv(width, width, 3))
        self.bn2 = spiking_norm(width)
        self.act2 = neuron()


def _norm_without_gain(width: int) -> nn.BatchNorm2d:
    """Make a batch norm whose weight stays 1, as airbench's: 2.6 points more after five epochs."""
    norm = nn.BatchNorm2d(width)
    norm.weight.requires_grad_(False)
    return norm


def _pass_through(layer: nn.Conv2d) -> nn.Conv2d:
    """Let the first channels out be the channels in at first, as Dirac's kernel does."""
    with torch.no_grad():
        nn.init.dirac_(layer.weight[: layer.in_channels])
    return layer


@final
class MaxPooledHead(LinearHead):
    """The largest value of every channel, a linear layer without bias, and a ninth of that: small logits at first."""

    bias = False

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = x.amax((2, 3)) if self.global_pool else x
        if pre_logits or isinstance(self.fc, nn.Identity):
            return x
        return _LOGIT_SCALE * self.fc(x)


@final
class FastBackbone(Backbone):
    """A stem of full size, then d groups, each of which halves the image: widths b, b·m, b·m, …"""

    api_version = 1

    def stages(self) -> list[list[BlockPlan]]:
        stem, width_in = (self.in_chans,), 2 * self.in_chans * _PATCH**2
        stages = [[BlockPlan(partial(AnalogStem, *stem), partial(SpikingStem, *stem), width_in)]]
        for i in range(self.depth):
            width = self.base * self.mult if i else self.base
            shape = (width_in, width)
            stages.append([BlockPlan(partial(AnalogGroup, *shape), partial(SpikingGroup, *shape), width)])
            width_in = width
        return stages

    def reductions(self) -> list[int]:
        return [2**i for i in range(self.depth + 1)]

    def head(self, num_classes: int, global_pool: str, pair: PairBuilder) -> ClassifierHead:
        return MaxPooledHead(self.stages()[-1][-1].out_channels, num_classes, global_pool)

    def first_convs(self) -> tuple[str, ...]:
        return ("conv",)

    @property
    def min_image_size(self) -> int:
        """2^d: every group halves the image."""
        return int(2**self.depth)
