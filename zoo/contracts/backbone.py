"""Contract of a backbone: pairs of blocks that are not built yet, and a head."""

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
    """A pair of blocks that is not built yet; a family builds the branches that it uses.

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
        """Map (N, num_features, H, W) to (N, num_classes), or to (N, hidden_size) with `pre_logits`."""

    @abstractmethod
    def reset_classes(self, num_classes: int) -> None:
        """Make new last layers, none for 0 classes. (spikingjelly's `reset_net` would call a method `reset`.)"""

    @abstractmethod
    def classifier(self) -> nn.Module:
        """Return the layers whose shape depends on the number of classes."""

    @abstractmethod
    def classifier_names(self) -> tuple[str, ...]:
        """Name these layers inside this head."""


class FirstLayer(nn.Module, ABC):
    """A layer on the image that training sets from images before its first step."""

    @abstractmethod
    def set_from(self, images: Tensor) -> None:
        """Set it from training images (N, C, H, W) as the network takes them."""


PairBuilder = Callable[[Callable[[], nn.Module], Callable[[NeuronFactory], nn.Module]], nn.Module]
"""Makes the module in which a family uses an analog and a spiking branch, from a function that makes each."""


class Backbone(ABC):
    """Builds the paired analog and spiking blocks, stage by stage, from base width b, multiplier m, depth d.

    Attributes:
        pixels_last: allow channels_last activations on the CPU, which is faster but rounds differently.
    """

    api_version: ClassVar[int]
    pixels_last: ClassVar[bool] = True

    def __init__(self, base: int, mult: int, depth: int, in_chans: int) -> None:
        self.base, self.mult, self.depth, self.in_chans = base, mult, depth, in_chans

    @abstractmethod
    def stages(self) -> Sequence[Sequence[BlockPlan]]:
        """Plan the blocks of every stage; a stem is the first stage."""

    @abstractmethod
    def reductions(self) -> Sequence[int]:
        """List the input pixels per feature pixel after every stage."""

    @abstractmethod
    def head(self, num_classes: int, global_pool: str, pair: PairBuilder) -> ClassifierHead:
        """Build the classifier; `pair` is for heads with two branches."""

    @abstractmethod
    def first_convs(self) -> tuple[str, ...]:
        """Name the convolutions that see the image, inside the first block of the first stage."""

    @property
    def min_image_size(self) -> int:
        """Fewest pixels a side that every stage can process."""
        return 1

    @final
    def feature_info(self) -> list[FeatureInfo]:
        """List channels, reduction and module name after every stage."""
        return [
            FeatureInfo(num_chs=blocks[-1].out_channels, reduction=reduction, module=f"stages.{i}")
            for i, (blocks, reduction) in enumerate(zip(self.stages(), self.reductions(), strict=True))
        ]
