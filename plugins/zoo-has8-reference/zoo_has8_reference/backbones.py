"""The published networks' blocks: the zoo's own, with torch's convolutions and the published settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, cast, final

from spikingjelly.activation_based import layer
from torch import Tensor, nn

from zoo.blocks import ResNetBackbone, VggBackbone
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


class PublishedBackbone(Backbone):
    """A backbone of the zoo, its blocks as published."""

    api_version = 1
    pixels_last = False  # what was published rounds in torch's default order
    network: ClassVar[type[Backbone]]

    def __init__(self, base: int, mult: int, depth: int, in_chans: int) -> None:
        super().__init__(base, mult, depth, in_chans)
        self._network = self.network(base, mult, depth, in_chans)

    def stages(self) -> list[list[BlockPlan]]:
        return [
            [
                BlockPlan(partial(_as_published, plan.analog), partial(self.spiking, plan.spiking), plan.out_channels)
                for plan in stage
            ]
            for stage in self._network.stages()
        ]

    def spiking(self, make: Callable[..., nn.Module], neuron: NeuronFactory) -> nn.Module:
        """Make a spiking block."""
        return _as_published(make, neuron)

    def reductions(self) -> Sequence[int]:
        return self._network.reductions()

    def head(self, num_classes: int, global_pool: str, pair: PairBuilder) -> ClassifierHead:
        return self._network.head(num_classes, global_pool, pair)

    def first_convs(self) -> tuple[str, ...]:
        return self._network.first_convs()

    @property
    def min_image_size(self) -> int:
        return self._network.min_image_size


@final
class ResNetReferenceBackbone(PublishedBackbone):
    """Stages i < d of width b·m^i, two basic blocks each; the published ones have m2 and d4."""

    network = ResNetBackbone


@final
class VggReferenceBackbone(PublishedBackbone):
    """Blocks i = 0…d of width in_chans·b·m^i, each halving the image."""

    network = VggBackbone

    def __init__(self, base: int, mult: int, depth: int, in_chans: int) -> None:
        super().__init__(base, mult, depth, in_chans)
        cast(VggBackbone, self._network).unit = in_chans

    def spiking(self, make: Callable[..., nn.Module], neuron: NeuronFactory) -> nn.Module:
        block = super().spiking(make, neuron)
        cast(nn.BatchNorm2d, block.bn).momentum = SPIKING_MOMENTUM
        return block
