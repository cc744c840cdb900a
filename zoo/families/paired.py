"""A network of paired blocks: both branches (has8), or one alone (the controls ann and snn)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from zoo.backbones.layers import pixels_last
from zoo.contracts.backbone import Backbone
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.contracts.neuron import NeuronFactory
from zoo.families.headed import HeadedClassifier
from zoo.names import Spec


@final
class PixelsLast(nn.Module):
    """Lays a map out for the CPU; a module, so that torch.fx and timm's ways to take networks apart keep it."""

    def forward(self, x: Tensor) -> Tensor:
        return pixels_last(x)


@final
class PairedBlock(nn.Module):
    """analog(x) + gain · decode(spiking(encode(x))), or the one of the two that there is.

    Without a `gain` there is no such factor; with one it is learned, a scalar for the block.
    """

    gain: nn.Parameter | None

    def __init__(
        self,
        analog: nn.Module | None,
        spiking: nn.Module | None,
        encoder: Encoder | None,
        decoder: Decoder | None,
        gain: float | None = None,
    ) -> None:
        super().__init__()
        self.register_parameter("gain", None if gain is None else nn.Parameter(torch.tensor(gain)))
        self.analog, self.spiking = analog, spiking
        self.encoder, self.decoder = encoder, decoder
        self.layout = nn.Identity()

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        """(N, C, …) → (N, C', …); `args` go to both branches."""
        x = self.layout(x)  # and again behind: a compiled decoder returns torch's own order
        outputs = []
        if self.spiking is not None:
            outputs.append(self._spike(self.spiking, x, *args))
        if self.analog is not None:
            outputs.append(self.analog(x, *args))
        return self.layout(outputs[0] if len(outputs) == 1 else outputs[0] + outputs[1])

    def _spike(self, spiking: nn.Module, x: Tensor, *args: Any) -> Tensor:
        encoder, decoder = cast(Encoder, self.encoder), cast(Decoder, self.decoder)
        decoded = cast(Tensor, decoder(spiking(encoder(x), *args)))
        return decoded if self.gain is None else decoded * self.gain


@final
class Pairing:
    """How a family uses a pair: which branches, and with which coding."""

    def __init__(
        self,
        analog: bool,
        encoder: Callable[[], Encoder] | None = None,
        decoder: Callable[[], Decoder] | None = None,
        neuron: NeuronFactory | None = None,
        gain: float | None = None,
    ) -> None:
        self.analog, self.encoder, self.decoder, self.neuron = analog, encoder, decoder, neuron
        self.gain = gain

    @property
    def timesteps(self) -> int:
        """T of the spiking branch; 1 without one."""
        return self.encoder().timesteps if self.encoder else 1

    def __call__(self, analog: Callable[[], nn.Module], spiking: Callable[[NeuronFactory], nn.Module]) -> PairedBlock:
        """Build the branches in use, each with a coder of its own."""
        return PairedBlock(
            analog() if self.analog else None,
            spiking(self.neuron) if self.neuron else None,
            self.encoder() if self.encoder else None,
            self.decoder() if self.decoder else None,
            self.gain,
        )


@final
class PairedNetwork(HeadedClassifier):
    """Stages of paired blocks and a head, whatever the backbone."""

    def __init__(self, spec: Spec, backbone: Backbone, pairing: Pairing, num_classes: int) -> None:
        super().__init__(spec, num_classes, backbone.in_chans, backbone.min_image_size)
        self.feature_info = backbone.feature_info()
        self._timesteps = pairing.timesteps
        self._first_convs = backbone.first_convs()
        self.stages = nn.Sequential(
            *(
                nn.Sequential(*(pairing(block.analog, block.spiking) for block in blocks))
                for blocks in backbone.stages()
            )
        )
        if backbone.pixels_last:
            for block in (module for stage in self.stages for module in cast(nn.Sequential, stage)):
                block.layout = PixelsLast()
        self.head = backbone.head(num_classes, "avg", pairing)
        self.num_features = self.head.num_features
        self.head_hidden_size = self.head.hidden_size

    @property
    def timesteps(self) -> int:
        return self._timesteps

    def forward_stages(self, x: Tensor, last: int) -> list[Tensor]:
        self.check_image(x)
        maps = []
        for stage in list(self.stages)[: last + 1]:
            x = self.run_blocks(stage, x)
            maps.append(x)
        return maps

    def drop_above(self, last: int) -> None:
        self.stages = cast(nn.Sequential, self.stages[: last + 1])

    @property
    def spiking_module_names(self) -> tuple[str, ...]:
        blocks = {name: m for name, m in self.named_modules() if isinstance(m, PairedBlock)}
        return tuple(f"{name}.spiking" for name, block in blocks.items() if block.spiking is not None)

    @property
    def first_conv_names(self) -> tuple[str, ...]:
        block = cast(PairedBlock, cast(nn.Sequential, self.stages[0])[0])
        branches = [name for name in ("analog", "spiking") if getattr(block, name) is not None]
        return tuple(f"stages.0.0.{branch}.{conv}" for branch in branches for conv in self._first_convs)
