"""Spiking blocks in a row, the input encoded once: a backbone's analog blocks with neurons instead of ReLUs."""

from __future__ import annotations

from collections import OrderedDict
from typing import Self, cast, final

import torch
from torch import Tensor, nn

from zoo.contracts.backbone import Backbone, BlockPlan
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import CONSTANT, FRAMES, Encoder
from zoo.contracts.neuron import Neuron, NeuronFactory
from zoo.cpu import conv
from zoo.decoders import averages
from zoo.decoders.averages import DigitDecoder
from zoo.families.headed import StagedClassifier
from zoo.families.numbers import pool_potentials, quantise_waiting
from zoo.families.over_time import NetworkOverTime
from zoo.families.paired import Pairing
from zoo.families.thresholds import SpikingActivation, first_activation, replace_activations
from zoo.names import Spec


@final
class EncodedOnceNetwork(StagedClassifier, NetworkOverTime):
    """Spiking blocks in a row; feature maps are means over T, and the control's own head stands behind the last.

    A neuron takes the place of each activation of the analog block, so in a residual block the last one fires behind
    the addition. Timesteps are folded into the batch: blocks are (T·N, C, H, W) → (T·N, C', H', W'). An encoder with
    the code `CONSTANT` stands before the first neuron, so that the layers up to there run once; any other stands before
    the first block.
    """

    def __init__(
        self, spec: Spec, backbone: Backbone, encoder: Encoder, neuron: NeuronFactory, num_classes: int
    ) -> None:
        def block(plan: BlockPlan) -> nn.Module:
            return nn.Sequential(OrderedDict(spiking=plan.analog()))

        super().__init__(spec, backbone, block, Pairing(analog=True), num_classes, encoder.timesteps)
        self.pixels_last = backbone.pixels_last
        self.takes_frames = encoder.code == FRAMES
        first = self.get_submodule("stages.0.0.spiking")
        self._encoding = first_activation(first) if encoder.code == CONSTANT else None
        if self._encoding is not None:
            first.set_submodule(self._encoding, SpikingActivation(neuron(), encoder.timesteps, encoder))
        self.encoder = encoder if self._encoding is None else nn.Identity()
        replace_activations(self.stages, lambda: SpikingActivation(neuron(), encoder.timesteps))
        pool_potentials(self.stages)
        places = cast(Neuron, neuron()).places(encoder.timesteps)
        self.averaging = DigitDecoder(places) if len(set(places)) > 1 else None

    def entering(self, x: Tensor) -> Tensor:
        """Return what the first block takes: (T·N, C, H, W), or (N, C, H, W) if the encoder stands inside it."""
        if self.takes_frames:
            x = self.encoder(x).flatten(0, 1)
        x = conv.pixels_last(x) if self.pixels_last else x
        if self.takes_frames or self._encoding is not None:
            return x
        return cast(Tensor, self.encoder(x).flatten(0, 1))

    def mean_over_time(self, carried: Tensor) -> Tensor:
        if self.timesteps == 1:
            return carried
        spikes = carried.unflatten(0, (self.timesteps, -1))
        return averages.rate_decode(spikes) if self.averaging is None else cast(Tensor, self.averaging(spikes))

    def drop_timesteps(self) -> Self:
        if self._encoding is not None and quantise_waiting(self.stages):
            self._timesteps = 1
        return self

    def fuse(self, dtype: torch.dtype | None = None) -> Self:
        return super().fuse(dtype).drop_timesteps()

    @property
    def spiking_module_names(self) -> tuple[str, ...]:
        if not any(isinstance(module, SpikingActivation) for module in self.modules()):
            return ()
        first, *others = super().spiking_module_names
        if self._encoding is None:
            return (first, *others)
        parts = [name for name, _ in self.get_submodule(first).named_children()]
        return (*(f"{first}.{part}" for part in parts[parts.index(self._encoding) :]), *others)


@final
class SpikingBlocksNetwork(StagedClassifier, NetworkOverTime):
    """A backbone's spiking blocks in a row over frames; the decoder averages behind the last, then the analog head."""

    takes_frames = True

    def __init__(
        self,
        spec: Spec,
        backbone: Backbone,
        encoder: Encoder,
        decoder: Decoder,
        neuron: NeuronFactory,
        num_classes: int,
    ) -> None:
        def block(plan: BlockPlan) -> nn.Module:
            return nn.Sequential(OrderedDict(spiking=plan.spiking(neuron)))

        super().__init__(spec, backbone, block, Pairing(analog=True), num_classes, encoder.timesteps)
        self.encoder, self.decoder = encoder, decoder

    def entering(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.encoder(x))

    def mean_over_time(self, carried: Tensor) -> Tensor:
        return cast(Tensor, self.decoder(carried))
