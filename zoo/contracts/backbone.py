"""What a backbone must offer: pairs of blocks that are not built yet, and a head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor, nn

from zoo.contracts.classifier import FeatureInfo
from zoo.contracts.neuron import NeuronFactory


@final
@dataclass(frozen=True)
class BlockPlan:
    """One pair of blocks, not built yet: a family builds the branches that it uses.

    Attributes:
        analog: makes the branch (N, C, H, W) → (N, out_channels, H', W').
        spiking: makes the branch (T, N, C, H, W) → (T, N, out_channels, H', W') from a neuron factory.
        out_channels: channels of both.
    """

    analog: Callable[[], nn.Module]
    spiking: Callable[[NeuronFactory], nn.Module]
    out_channels: int


class ClassifierHead(nn.Module, ABC):
    """From the last feature map to logits."""

    num_features: int
    hidden_size: int
    global_pool: str

    @abstractmethod
    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(N, num_features, H, W) → (N, num_classes), or (N, hidden_size) with `pre_logits`; the map unpooled."""

    @abstractmethod
    def reset_classes(self, num_classes: int) -> None:
        """New last layer(s), none for 0 classes; not named `reset`, which spikingjelly's `reset_net` calls."""

    @abstractmethod
    def classifier(self) -> nn.Module:
        """The layer(s) whose shape depends on the number of classes."""

    @abstractmethod
    def classifier_names(self) -> tuple[str, ...]:
        """Their names inside this head."""


PairBuilder = Callable[[Callable[[], nn.Module], Callable[[NeuronFactory], nn.Module]], nn.Module]
"""Given how to make an analog and a spiking branch, the module in which a family uses them."""


class Backbone(ABC):
    """Builds the paired analog and spiking blocks, stage by stage, from base width b, multiplier m, depth d.

    Attributes:
        pixels_last: whether activations may lie in memory pixel by pixel (channels_last) on the CPU, which is faster; a
            convolution rounds its own way in either order.
    """

    api_version: ClassVar[int]
    pixels_last: ClassVar[bool] = True

    def __init__(self, base: int, mult: int, depth: int, in_chans: int) -> None:
        self.base, self.mult, self.depth, self.in_chans = base, mult, depth, in_chans

    @abstractmethod
    def stages(self) -> Sequence[Sequence[BlockPlan]]:
        """The blocks of every stage, the stem being the first stage where there is one."""

    @abstractmethod
    def reductions(self) -> Sequence[int]:
        """Input pixels per feature pixel after every stage."""

    @abstractmethod
    def head(self, num_classes: int, global_pool: str, pair: PairBuilder) -> ClassifierHead:
        """The classifier; `pair` is for heads that have two branches."""

    @abstractmethod
    def first_convs(self) -> tuple[str, ...]:
        """Names, inside the first block of the first stage, of the convolutions that see the image."""

    @property
    def min_image_size(self) -> int:
        """The fewest pixels a side that every stage can still make something of."""
        return 1

    @final
    def feature_info(self) -> list[FeatureInfo]:
        """Channels, reduction and module name after every stage."""
        return [
            FeatureInfo(num_chs=blocks[-1].out_channels, reduction=reduction, module=f"stages.{i}")
            for i, (blocks, reduction) in enumerate(zip(self.stages(), self.reductions(), strict=True))
        ]
