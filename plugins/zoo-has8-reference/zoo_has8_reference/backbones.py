"""The published networks' blocks: the zoo's own, with torch's convolutions and the published settings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import cast, final

from torch import nn

from zoo.blocks import AnalogVggBlock, Conv2d, PairedMlpHead, ResNetBackbone, SpikingVggBlock
from zoo.contracts import Backbone, BlockPlan, ClassifierHead, NeuronFactory, PairBuilder

SPIKING_MOMENTUM = math.sqrt(0.1)
"""Of the VGG's spiking batch norms; the analog ones have torch's 0.1."""


def _with_torch_convolutions(make: Callable[[], nn.Module]) -> nn.Module:
    """A block whose convolutions are torch's own, where the zoo's convolve a single small image as a batch of two."""
    block = make()
    for name, conv in list(block.named_modules()):
        if isinstance(conv, Conv2d):
            plain = nn.Conv2d(
                conv.in_channels,
                conv.out_channels,
                cast("tuple[int, int]", conv.kernel_size),
                cast("tuple[int, int]", conv.stride),
                cast("tuple[int, int]", conv.padding),
                bias=False,
            )
            plain.weight = conv.weight
            block.set_submodule(name, plain)
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
            [replace(plan, analog=partial(_with_torch_convolutions, plan.analog)) for plan in stage]
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
            analog = partial(_with_torch_convolutions, partial(AnalogVggBlock, width_in, width))
            stages.append([BlockPlan(analog, partial(_spiking_vgg_block, width_in, width), width)])
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
