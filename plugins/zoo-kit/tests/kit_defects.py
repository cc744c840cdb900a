"""Components with one defect each, and words of the cause that the kit must name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones.resnet import ResidualBackbone
from zoo.blocks import straight_through_planes, unit_range
from zoo.contracts import (
    BINARY_LSB_FIRST,
    BuildRequest,
    Decoder,
    Encoder,
    Family,
    GrammarFamily,
    ImageClassifier,
    Neuron,
)
from zoo.contracts.converter import Converted, Converter
from zoo.contracts.neuron import GRADED, SIGNED, UNARY
from zoo.families.has8 import SIZE_PARTS, build_paired
from zoo.families.paired import Pairing
from zoo.names import ComponentNames, ComponentPart, Grammar, Value
from zoo.registry.components import default_registry, parse_name

Defect = tuple[type[Any], str, str]
INTEGRATE_AND_FIRE = default_registry().load("neuron", "if")


class GoodNeuron(Neuron):
    """Integrate and fire, to be spoiled."""

    api_version = 1

    def fire(self, x: Tensor) -> Tensor:
        return INTEGRATE_AND_FIRE()(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.fire(x)


class Anticipates(GoodNeuron):
    def forward(self, x: Tensor) -> Tensor:
        return self.fire(x + x.mean(0))


class Forgets(GoodNeuron):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.fire(step[None]) for step in x]) if len(x) else x


class Detached(GoodNeuron):
    def forward(self, x: Tensor) -> Tensor:
        alone = torch.cat([self.fire(step[None]) for step in x])
        return alone + (self.fire(x) - alone).detach()


class Remembers(GoodNeuron):
    v: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.v = x[-1].detach()
        return self.fire(x)


class Centred(GoodNeuron):
    def forward(self, x: Tensor) -> Tensor:
        return self.fire(x - x.mean(1, keepdim=True) if self.training else x)


class Spills(GoodNeuron):
    def forward(self, x: Tensor) -> Tensor:
        return self.fire(x + torch.cat((torch.zeros_like(x[:, :1]), x[:, :-1]), 1))


class SignedNeuron(GoodNeuron):
    """Fires at currents of either sign."""

    code = SIGNED

    def fire(self, x: Tensor) -> Tensor:
        return super().fire(x) - super().fire(-x)


class GradedNeuron(GoodNeuron):
    """Sends three spikes in one event."""

    code = GRADED

    def fire(self, x: Tensor) -> Tensor:
        return 3 * super().fire(x)


class Undeclared(SignedNeuron):
    code = UNARY


class LooseParameter(GoodNeuron):
    def __init__(self) -> None:
        super().__init__()
        self.leak = nn.Parameter(torch.tensor(0.5))


NEURONS: list[Defect] = [
    (Anticipates, "later_inputs_change_no_earlier_spike", "change spikes before it"),
    (Forgets, "earlier_inputs_change_later_spikes", "carry the membrane potential"),
    (Detached, "gradient_goes_back_through_time", "do not detach the membrane potential"),
    (Remembers, "a_forward_leaves_no_state", "leaves something behind"),
    (Centred, "batch_mates_change_nothing", "other samples of its batch"),
    (Undeclared, "spikes_are_zeros_and_ones", "[-1.0]"),
    (Spills, "batch_mates_change_nothing", "sample 1"),
    (LooseParameter, "it_learns_in_a_model", "no gradient reaches stages.0.0.spiking.act.leak"),
]


class GoodEncoder(Encoder):
    """One plane, in a code that no other encoder speaks; its gradient goes straight through."""

    api_version = 1
    code = "own"
    timesteps = 1
    differentiable = True

    def forward(self, x: Tensor) -> Tensor:
        bounded = x.clamp(0, 1)
        return (bounded.round().detach() + (bounded - bounded.detach()))[None]


class Seeds(GoodEncoder):
    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return super().forward(x)


class Doubled(GoodEncoder):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class TooMany(GoodEncoder):
    timesteps = 2


class InPlace(GoodEncoder):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.clamp_(0, 1))


class MostSignificantFirst(GoodEncoder):
    code = BINARY_LSB_FIRST
    timesteps = 8

    def forward(self, x: Tensor) -> Tensor:
        return straight_through_planes(unit_range(x)).to(x.dtype).flip(0)


class TwoPlanesExchanged(MostSignificantFirst):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).flip(0)[[0, 1, 2, 4, 3, 5, 6, 7]]


class NoSurrogate(GoodEncoder):
    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1).round()[None].detach()


ENCODERS: list[Defect] = [
    (Seeds, "equal_inputs_give_equal_answers", "draws random numbers"),
    (Doubled, "planes_hold_zeros_and_ones", "spikes are 0 or 1"),
    (TooMany, "planes_have_the_declared_shape", "return (2, 3, 5)"),
    (InPlace, "equal_inputs_give_equal_answers", "in place"),
    (MostSignificantFirst, "planes_are_in_the_declared_order", "the last plane comes first"),
    (TwoPlanesExchanged, "planes_are_in_the_declared_order", "planes 3 and 4"),
    (NoSurrogate, "gradient", "surrogate gradient"),
]


class GoodDecoder(Decoder):
    """Bits, the least significant plane first."""

    api_version = 1
    codes = None
    timesteps = 8

    def forward(self, spikes: Tensor) -> Tensor:
        return sum((plane * (2**t / 255) for t, plane in enumerate(spikes)), torch.zeros_like(spikes[0]))


class Strided(GoodDecoder):
    def forward(self, spikes: Tensor) -> Tensor:
        plain = torch.empty(spikes.shape, device=spikes.device).stride()
        return super().forward(spikes.as_strided(spikes.shape, plain) if spikes.numel() else spikes)


class Backwards(GoodDecoder):
    def forward(self, spikes: Tensor) -> Tensor:
        return super().forward(spikes.flip(0))


DECODERS: list[Defect] = [(Strided, "strided_inputs", "not close"), (Backwards, "round_trip", "is off by up to")]


class GoodBackbone(ResidualBackbone):
    """resnet, to be spoiled."""

    api_version = 1


class WrongReduction(GoodBackbone):
    def reductions(self) -> list[int]:  # type: ignore[misc]
        return [2 * each for each in super().reductions()]


class WrongConvolution(GoodBackbone):
    def first_convs(self) -> tuple[str, ...]:  # type: ignore[misc]
        return ("bn",)


BACKBONES: list[Defect] = [
    (WrongReduction, "feature_info_is_true", "feature_info says"),
    (WrongConvolution, "named_modules_exist", "first convolution"),
]


class GoodFamily(GrammarFamily):
    """The names and networks of ann_{backbone}, to be spoiled."""

    api_version = 1
    grammars = (Grammar(SIZE_PARTS),)

    def build(self, request: BuildRequest) -> ImageClassifier:
        return build_paired(request, Pairing(analog=True))


class Deaf(GoodFamily):
    def build(self, request: BuildRequest) -> ImageClassifier:
        return super().build(replace(request, num_classes=10))


class Controlled(GoodFamily):
    def control(self, fields: Mapping[str, Value]) -> str:
        return "snn_resnet_b2_m2_d1_ste_bpd"


class IgnoresOptions(GoodFamily):
    grammars = (Grammar((ComponentPart("encoder"),)),)

    def build(self, request: BuildRequest) -> ImageClassifier:
        request.components.load("encoder", str(request.spec["encoder"]))()
        return build_paired(replace(request, spec=parse_name("ann_resnet_b1_m1_d1")), Pairing(analog=True))


class Careless(Family):
    """Names without a grammar."""

    api_version = 1
    examples = ("3x4",)

    def parse(self, remainder: str, known: ComponentNames) -> tuple[tuple[str, Value], ...]:
        width, depth = remainder.split("x")
        return (("width", int(width)), ("depth", int(depth) + 1))

    def format(self, fields: Mapping[str, Value]) -> str:
        return f"{fields['width']}x{fields['depth']}"

    def build(self, request: BuildRequest) -> ImageClassifier:
        raise NotImplementedError


FAMILIES: list[Defect] = [
    (Deaf, "the_model_is_what_was_asked_for", "from the request"),
    (Controlled, "the_control_has_no_spikes", "spikes"),
    (IgnoresOptions, "options_reach_the_components", "request.component('encoder')"),
    (Careless, "names_round_trip", "is formatted as"),
    (Careless, "wrong_names_are_refused", "unpack"),
    (Careless, "meta_device", "NotImplementedError"),
]


class Credulous(Converter):
    api_version = 1

    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        return Converted("ann_resnet_b2_m2_d1", 3, 3, state)


CONVERTERS: list[Defect] = [(Credulous, "other_checkpoints_are_refused", "DID NOT RAISE")]
