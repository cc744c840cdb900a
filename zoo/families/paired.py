"""A network of paired blocks: both branches (has8), one alone (ann, snn), or two analog ones (dual)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from zoo.contracts.backbone import Backbone, BlockPlan
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.contracts.neuron import NeuronFactory
from zoo.cpu import layout
from zoo.cpu.private import parts_of
from zoo.families.headed import StagedClassifier
from zoo.names import Spec


@final
@dataclass(frozen=True)
class Pairing:
    """The branches that a family uses of a pair, and their coding; `second` is one more analog branch."""

    analog: bool
    encoder: Callable[[], Encoder] | None = None
    decoder: Callable[[], Decoder] | None = None
    neuron: NeuronFactory | None = None
    gain: float | None = None
    second: bool = False

    def __call__(self, analog: Callable[[], nn.Module], spiking: Callable[[NeuronFactory], nn.Module]) -> PairedBlock:
        """Build the branches in use, each with a coder of its own."""
        return PairedBlock(self, analog, spiking)


@final
class PairedBlock(nn.Module):
    """analog(x) + gain · decode(spiking(encode(x))), or either alone; or analog(x) + gain · second(x).

    Without a `gain` there is no such factor; with one it is learned, a scalar for the block.
    """

    gain: nn.Parameter | None

    def __init__(
        self,
        pairing: Pairing,
        analog: Callable[[], nn.Module],
        spiking: Callable[[NeuronFactory], nn.Module],
        pixels_last: bool = False,
    ) -> None:
        super().__init__()
        gain = None if pairing.gain is None else nn.Parameter(torch.tensor(pairing.gain))
        self.register_parameter("gain", gain)
        self.analog = analog() if pairing.analog else None
        self.second = analog() if pairing.second else None
        self.spiking = spiking(pairing.neuron) if pairing.neuron else None
        self.encoder = pairing.encoder() if pairing.encoder else None
        self.decoder = pairing.decoder() if pairing.decoder else None
        self.pixels_last = pixels_last

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        """(N, C, …) → (N, C', …); `args` go to both branches."""
        parts = parts_of(self)
        spiking, analog, gain = parts.get("spiking"), parts.get("analog"), self.gain
        x = layout.pixels_last(x) if self.pixels_last else x
        if spiking is None:
            total = cast(Tensor, cast(nn.Module, analog)(x, *args))
            second = parts.get("second")
            return total if second is None else total + scaled(second(x, *args), gain)
        decoded = scaled(parts["decoder"](spiking(parts["encoder"](x), *args)), gain)
        x = decoded if analog is None else decoded + analog(x, *args)
        # A decoder may return torch's own order, in which the mean of a head rounds otherwise.
        return layout.pixels_last(x) if self.pixels_last else x


def scaled(x: Tensor, gain: Tensor | None) -> Tensor:
    """Multiply by the gain, if there is one."""
    return x if gain is None else x * gain


@final
class PairedNetwork(StagedClassifier):
    """Stages of paired blocks and a head, whatever the backbone."""

    def __init__(self, spec: Spec, backbone: Backbone, pairing: Pairing, num_classes: int) -> None:
        def block(plan: BlockPlan) -> PairedBlock:
            return PairedBlock(pairing, plan.analog, plan.spiking, backbone.pixels_last)

        timesteps = pairing.encoder().timesteps if pairing.encoder else 1
        super().__init__(spec, backbone, block, pairing, num_classes, timesteps)

    def forward_stages(self, x: Tensor, last: int) -> list[Tensor]:
        self.check_image(x)
        maps = []
        for stage in list(self.stages)[: last + 1]:
            x = self.run_blocks(stage, x)
            maps.append(x)
        return maps
