"""VGG backbone: blocks of one convolution and 2×2 average pooling, then a paired three-layer head (section 3.4.1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import final

from torch import Tensor, nn

from zoo.backbones.layers import (
    FusableSequential,
    conv,
    pooled,
    spiking_avg_pool,
    spiking_conv,
    spiking_linear,
    spiking_norm,
)
from zoo.contracts.backbone import Backbone, BlockPlan, ClassifierHead, PairBuilder
from zoo.contracts.neuron import NeuronFactory

HIDDEN = (1024, 512)
_leaky = partial(nn.LeakyReLU, 0.01, inplace=True)


@final
class AnalogVggBlock(FusableSequential):
    """3×3 convolution, batch norm, LeakyReLU(0.01), 2×2 average pooling over (N, C, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = conv(in_channels, out_channels, 3)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.LeakyReLU(0.01, inplace=True)
        self.pool = nn.AvgPool2d(2)


@final
class SpikingVggBlock(FusableSequential):
    """3×3 convolution, batch norm, neuron, 2×2 average pooling over (T, N, C, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, neuron: NeuronFactory) -> None:
        super().__init__()
        self.conv = spiking_conv(in_channels, out_channels, 3)
        self.bn = spiking_norm(out_channels)
        self.act = neuron()
        self.pool = spiking_avg_pool(2)


@final
class MlpBranch(nn.Module):
    """linear 1024–act–linear 512–act–linear classes–act; the last activation works on the logits themselves."""

    def __init__(
        self, num_features: int, num_classes: int, linear: Callable[[int, int], nn.Module], act: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        self._linear = linear
        self.hidden = nn.Sequential(linear(num_features, HIDDEN[0]), act(), linear(HIDDEN[0], HIDDEN[1]), act())
        self.fc: nn.Module = nn.Identity()
        self.act = act()
        self.reset_classes(num_classes)

    def reset_classes(self, num_classes: int) -> None:
        """A new last linear layer; none for 0 classes."""
        self.fc = self._linear(HIDDEN[1], num_classes) if num_classes else nn.Identity()

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.hidden(x)
        if pre_logits or isinstance(self.fc, nn.Identity):
            return x
        return self.act(self.fc(x))


@final
class PairedMlpHead(ClassifierHead):
    """Pooling to 1×1, then an MLP in both branches: encoded once, decoded once."""

    def __init__(self, num_features: int, num_classes: int, global_pool: str, pair: PairBuilder) -> None:
        super().__init__()
        self.num_features, self.hidden_size = num_features, HIDDEN[1]
        self.global_pool = global_pool
        shape = (num_features, num_classes)
        self.mlp = pair(partial(MlpBranch, *shape, nn.Linear, _leaky), partial(MlpBranch, *shape, spiking_linear))

    def _branches(self) -> dict[str, MlpBranch]:
        return {name: m for name, m in self.named_modules() if isinstance(m, MlpBranch)}

    def reset_classes(self, num_classes: int) -> None:
        for branch in self._branches().values():
            branch.reset_classes(num_classes)

    def classifier(self) -> nn.Module:
        return nn.ModuleList([branch.fc for branch in self._branches().values()])

    def classifier_names(self) -> tuple[str, ...]:
        return tuple(f"{name}.fc" for name in self._branches())

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = pooled(x, self.global_pool)
        # Without pooling there is a map, not a vector, and no linear layer can follow.
        return self.mlp(x, pre_logits) if self.global_pool else x


@final
class VggBackbone(Backbone):
    """Blocks i = 0…d of width 3·b·m^i, each halving the image (eq. 21).

    Attributes:
        unit: 3 whatever `in_chans` is, so that pretrained weights adapt.
    """

    api_version = 1
    unit = 3

    def stages(self) -> list[list[BlockPlan]]:
        stages = []
        width_in = self.in_chans
        for i in range(self.depth + 1):
            width = self.unit * self.base * self.mult**i
            shape = (width_in, width)
            stages.append([BlockPlan(partial(AnalogVggBlock, *shape), partial(SpikingVggBlock, *shape), width)])
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
