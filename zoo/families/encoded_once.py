"""Spiking blocks in a row, the input encoded once: a backbone's analog blocks with neurons in the place of ReLUs."""

from __future__ import annotations

from itertools import chain
from typing import cast, final

from torch import Tensor, nn

from zoo.contracts.backbone import Backbone
from zoo.contracts.encoder import CONSTANT, Encoder
from zoo.contracts.neuron import NeuronFactory
from zoo.families.headed import HeadedClassifier
from zoo.families.paired import Pairing, PixelsLast
from zoo.families.thresholds import SpikingActivation, replace_activations
from zoo.names import Spec


@final
class SpikingBlock(nn.Module):
    """A block of which every activation is a `SpikingActivation`: (T·N, C, H, W) → (T·N, C', H', W')."""

    def __init__(self, spiking: nn.Module) -> None:
        super().__init__()
        self.spiking = spiking

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.spiking(x))


@final
class EncodedOnceNetwork(HeadedClassifier):
    """Spiking blocks in a row; feature maps are means over T, and the control's own head stands behind the last.

    A neuron takes the place of each activation of the analog block, so in a residual block the last one fires behind
    the addition. Timesteps are folded into the batch. An encoder with the code `CONSTANT` stands before the first
    neuron, so that the layers up to there run once; any other stands before the first block.
    """

    def __init__(
        self, spec: Spec, backbone: Backbone, encoder: Encoder, neuron: NeuronFactory, num_classes: int
    ) -> None:
        super().__init__(spec, num_classes, backbone.in_chans, backbone.min_image_size)
        self.feature_info = backbone.feature_info()
        self._timesteps, self._first_convs = encoder.timesteps, backbone.first_convs()
        self.layout = PixelsLast() if backbone.pixels_last else nn.Identity()
        self.stages = nn.Sequential(
            *(nn.Sequential(*(SpikingBlock(plan.analog()) for plan in plans)) for plans in backbone.stages())
        )
        first = self._blocks()[0].spiking
        # Only in a sequence is the order of activations known from outside.
        self._encodes_currents = encoder.code == CONSTANT and isinstance(first, nn.Sequential)
        self.encoder = nn.Identity() if self._encodes_currents else encoder
        pending = [encoder] if self._encodes_currents else []
        for block in self._blocks():
            replace_activations(
                block, lambda: SpikingActivation(neuron(), encoder.timesteps, pending.pop() if pending else None)
            )
        self.head = backbone.head(num_classes, "avg", Pairing(analog=True))
        self.num_features, self.head_hidden_size = self.head.num_features, self.head.hidden_size

    def _blocks(self) -> list[SpikingBlock]:
        return [cast(SpikingBlock, block) for block in chain.from_iterable(cast(nn.Sequential, s) for s in self.stages)]

    @property
    def timesteps(self) -> int:
        return self._timesteps

    def forward_stages(self, x: Tensor, last: int) -> list[Tensor]:
        self.check_image(x)
        x = self.layout(x)
        if not self._encodes_currents:
            x = self.encoder(x).flatten(0, 1)
        maps = []
        for stage in list(self.stages)[: last + 1]:
            x = self.run_blocks(stage, x)
            maps.append(x.unflatten(0, (self.timesteps, -1)).mean(0))
        return maps

    def drop_above(self, last: int) -> None:
        self.stages = cast(nn.Sequential, self.stages[: last + 1])

    @property
    def spiking_module_names(self) -> tuple[str, ...]:
        names = [name for name, module in self.named_modules() if isinstance(module, SpikingBlock)]
        spiking = tuple(f"{name}.spiking" for name in names)
        if not self._encodes_currents:
            return spiking
        parts = [name for name, _ in self._blocks()[0].spiking.named_children()]
        encoding = next(i for i, part in enumerate(parts) if self._is_encoding(part))
        return tuple(f"{spiking[0]}.{part}" for part in parts[encoding:]) + spiking[1:]

    def _is_encoding(self, part: str) -> bool:
        activation = self._blocks()[0].spiking.get_submodule(part)
        return isinstance(activation, SpikingActivation) and activation.encoder is not None

    @property
    def first_conv_names(self) -> tuple[str, ...]:
        return tuple(f"stages.0.0.spiking.{conv}" for conv in self._first_convs)
