"""A network of paired blocks: both branches (has8), one alone (ann, snn), or two analog ones (dual)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from zoo.contracts.backbone import Backbone, BlockPlan
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import BINARY_LSB_FIRST, BINARY_MSB_FIRST, CONSTANT, Encoder
from zoo.contracts.neuron import RADIX, Neuron, NeuronFactory
from zoo.cpu import conv
from zoo.cpu.private import parts_of
from zoo.decoders.averages import BitPlaneDecoder
from zoo.encoders.bitplanes import StraightThroughEncoder, straight_through_number
from zoo.errors import CompositionError
from zoo.families.headed import StagedClassifier
from zoo.families.thresholds import ScaledNeuron, SpikingActivation, replace_activations
from zoo.names import Spec


def writes_digits(neuron: nn.Module) -> bool:
    """Return whether a neuron's spikes are binary digits."""
    return isinstance(neuron, Neuron) and neuron.code == RADIX


def reading(encoder: Encoder, neuron: NeuronFactory) -> NeuronFactory:
    """Return a maker of neurons whose digits come in the order of the encoder's planes.

    Raises:
        CompositionError: the neurons read digits, and the encoder emits none.
    """
    probe = neuron()
    if not writes_digits(probe):
        return neuron
    if encoder.code not in (BINARY_LSB_FIRST, BINARY_MSB_FIRST, CONSTANT):
        raise CompositionError(
            f"{type(probe).__name__} reads digits, but {type(encoder).__name__} emits {encoder.code}; choose an "
            "encoder of bit planes, such as 'ste', or 'direct'"
        )

    def make() -> nn.Module:
        made = cast(Neuron, neuron())
        made.least_first = encoder.code == BINARY_LSB_FIRST
        return made

    return make


@final
@dataclass(frozen=True)
class Pairing:
    """The branches that a family uses of a pair, and their coding.

    Attributes:
        analog: an analog branch.
        encoder, decoder, neuron: of the spiking branch, if there is one.
        gain: what its factor is at first; None for no factor.
        second: one more analog branch.
        ceiling: the largest value of a layer of neurons at first, which is learned; None for spikes that are worth 1.
        digits: neurons write digits, whose branch is computed on numbers.
    """

    analog: bool
    encoder: Callable[[], Encoder] | None = None
    decoder: Callable[[], Decoder] | None = None
    neuron: NeuronFactory | None = None
    gain: float | None = None
    second: bool = False
    ceiling: float | None = None
    digits: bool = False

    def __call__(self, analog: Callable[[], nn.Module], spiking: Callable[[NeuronFactory], nn.Module]) -> PairedBlock:
        """Build the branches in use, each with a coder of its own."""
        return PairedBlock(self, analog, spiking)

    def spiking_branch(
        self, analog: Callable[[], nn.Module], spiking: Callable[[NeuronFactory], nn.Module]
    ) -> nn.Module | None:
        """Build the branch of neurons: those of digits stand for the activations of an analog branch."""
        neuron, ceiling = self.neuron, self.ceiling
        if neuron is None:
            return None
        if not self.digits:
            return spiking(neuron if ceiling is None else lambda: ScaledNeuron(neuron(), ceiling))
        assert self.encoder is not None
        timesteps = self.encoder().timesteps
        branch = analog()
        scale = DIGITS_CEILING if ceiling is None else ceiling
        replace_activations(branch, lambda: SpikingActivation(neuron(), timesteps, scale=scale, on_numbers=True))
        return branch


DIGITS_CEILING = 8.0
"""The largest value of neurons that write digits, before it is learned: much lower ones lose what they cut off."""


@final
class PairedBlock(nn.Module):
    """analog(x) + gain · decode(spiking(encode(x))), or either alone; or analog(x) + gain · second(x).

    Without a `gain` there is no such factor; with one it is learned, a scalar for the block.

    Attributes:
        on_numbers: the spiking branch takes the number that the encoder writes, and returns one: see
            `zoo.families.numbers`.
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
        self.spiking = pairing.spiking_branch(analog, spiking)
        self.encoder = pairing.encoder() if pairing.encoder else None
        self.decoder = pairing.decoder() if pairing.decoder else None
        self.pixels_last, self.on_numbers = pixels_last, pairing.digits
        self.digits = pairing.digits

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        """(N, C, …) → (N, C', …); `args` go to both branches."""
        parts = parts_of(self)
        spiking, analog, gain = parts.get("spiking"), parts.get("analog"), self.gain
        x = conv.pixels_last(x) if self.pixels_last else x
        if spiking is None:
            total = cast(Tensor, cast(nn.Module, analog)(x, *args))
            second = parts.get("second")
            return total if second is None else total + scaled(second(x, *args), gain)
        decoded = scaled(self._decoded(x, parts["encoder"], spiking, parts["decoder"], args), gain)
        x = decoded if analog is None else decoded + analog(x, *args)
        # A decoder may return torch's own order, in which the mean of a head rounds otherwise.
        return conv.pixels_last(x) if self.pixels_last else x

    def _decoded(self, x: Tensor, encoder: Any, spiking: Any, decoder: Any, args: tuple[Any, ...]) -> Tensor:
        """Return what the spiking branch answers: on planes (T, N, …), on digits (T·N, …), or on their number."""
        if self.on_numbers:
            straight = type(encoder) is StraightThroughEncoder and type(decoder) is BitPlaneDecoder
            number: Tensor = straight_through_number(x) if straight else decoder(encoder(x))
            return cast(Tensor, spiking(number, *args))
        planes: Tensor = encoder(x)
        if not self.digits:
            return cast(Tensor, decoder(spiking(planes, *args)))
        return cast(Tensor, decoder(spiking(planes.flatten(0, 1), *args).unflatten(0, planes.shape[:2])))


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
        return list(self.run_stages(x, last))
