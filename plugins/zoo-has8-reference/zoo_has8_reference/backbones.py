"""The published networks' blocks: the zoo's own, with torch's convolutions and the published settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, final

from spikingjelly.activation_based import layer
from torch import Tensor, nn

from zoo.blocks import AnalogVggBlock, PairedMlpHead, ResNetBackbone, SpikingVggBlock
from zoo.contracts import Backbone, BlockPlan, ClassifierHead, NeuronFactory, PairBuilder

SPIKING_MOMENTUM = math.sqrt(0.1)
"""Of the VGG's spiking batch norms; the analog ones have torch's 0.1."""


@final
class PublishedConv2d(nn.Conv2d):
    """torch's own convolution, in torch's default order: what the zoo guards rounds otherwise in the last bit."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous())


@final
class PublishedSpikingConv2d(layer.Conv2d):
    """The same of spikingjelly's, over (T, N, C, H, W)."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x.contiguous())


def _as_published(make: Callable[..., nn.Module], *arguments: Any) -> nn.Module:
    """Make a block whose convolutions are torch's and spikingjelly's own."""
    block = make(*arguments)
    for module in block.modules():
        if isinstance(module, layer.Conv2d):
            module.__class__ = PublishedSpikingConv2d
        elif isinstance(module, nn.Conv2d):
            module.__class__ = PublishedConv2d
    return block


def _spiking_vgg_block(in_channels: int, out_channels: int, neuron: NeuronFactory) -> nn.Module:
    block = SpikingVggBlock(in_channels, out_channels, neuron)
    block.bn.momentum = SPIKING_MOMENTUM
    return block


@final
class ResNetReferenceBackbone(Backbone):
    """Stages i < d of width b·m^i, two basic blocks each; the published ones have m2 and d4."""

    api_version = 1
    pixels_last = False  # what was published rounds in torch's default order

    def __init__(self, base: int, mult: int, depth: int, in_chans: int) -> None:
        super().__init__(base, mult, depth, in_chans)
        self._network = ResNetBackbone(base, mult, depth, in_chans)

    def stages(self) -> list[list[BlockPlan]]:
        return [
            [
                BlockPlan(partial(_as_published, plan.analog), partial(_as_published, plan.spiking), plan.out_channels)
                for plan in stage
            ]
            for stage in self._network.stages()
        ]

    def reductions(self) -> list[int]:
        return self._network.reductions()

    def head(self, num_classes: int, global_pool: str, pair: PairBuilder) -> ClassifierHead:
        return self._network.head(num_classes, global_pool, pair)

    def first_convs(self) -> tuple[str, ...]:
        return self._network.first_convs()


@final
class VggReferenceBackbone(Backbone):
    """Blocks i = 0…d of width in_chans·b·m^i, each halving the image."""

    api_version = 1
    pixels_last = False  # what was published rounds in torch's default order

    def stages(self) -> list[list[BlockPlan]]:
        stages, width_in = [], self.in_chans
        for i in range(self.depth + 1):
            width = self.in_chans * self.base * self.mult**i
            analog = partial(_as_published, AnalogVggBlock, width_in, width)
            spiking = partial(_as_published, _spiking_vgg_block, width_in, width)
            stages.append([BlockPlan(analog, spiking, width)])
            width_in = width
        return stages

    def reductions(self) -> list[int]:
        return [2 ** (i + 1) for i in range(self.depth + 1)]

    def head(self, num_classes: int, global_pool: str, pair: PairBuilder) -> ClassifierHead:
        return PairedMlpHead(self.stages()[-1][-1].out_channels, num_classes, global_pool, pair)

    def first_convs(self) -> tuple[str, ...]:
        return ("conv",)

    @property
    def min_image_size(self) -> int:
        """2^(1+d): every block halves the image."""
        return int(2 ** (1 + self.depth))
