"""Neurons, backbones, families and converters with one defect each, and what the kit must say of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn

from zoo.backbones.resnet import ResidualBackbone
from zoo.contracts import BlockPlan, BuildRequest, Family, GrammarFamily, ImageClassifier, Neuron
from zoo.contracts.converter import Converted, Converter
from zoo.errors import MissingPluginError, WeightError
from zoo.factory import build_model
from zoo.families.has8 import SIZE_PARTS, build_paired
from zoo.families.paired import Pairing
from zoo.names import ComponentNames, Grammar, Value
from zoo.neurons.functional import if_spikes
from zoo.registry import Registry, default_registry, parse_name
from zoo.testing import (
    CheckResult,
    ComponentTests,
    ConverterTests,
    run_check,
)


class Spikes(Neuron):
    """Integrate and fire, to be spoiled."""

    api_version = 1

    def forward(self, x: Tensor) -> Tensor:
        return if_spikes(x)


class Anticipates(Spikes):
    def forward(self, x: Tensor) -> Tensor:
        return if_spikes(x + x.mean(0))


class Reversed(Spikes):
    def forward(self, x: Tensor) -> Tensor:
        return if_spikes(x.flip(0)).flip(0)


class Forgets(Spikes):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([if_spikes(step[None]) for step in x]) if len(x) else x


class Detached(Spikes):
    """Right forward; backward sees single steps."""

    def forward(self, x: Tensor) -> Tensor:
        alone = torch.cat([if_spikes(step[None]) for step in x])
        return alone + (if_spikes(x) - alone).detach()


class Remembers(Spikes):
    def __init__(self) -> None:
        super().__init__()
        self.v: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.v = x[-1].detach()
        return if_spikes(x)


class CarriesOn(Spikes):
    """From one training batch to the next."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return if_spikes(x)
        start = vars(self).get("v", 0 * x[0].detach())
        self.v = (start + x[-1].detach()) / 2
        return if_spikes(torch.cat([x[:1] + start, x[1:]])) if len(start) == len(x[0]) else if_spikes(x)


class CarriesABuffer(Spikes):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("v", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.v = x[-1].detach()
        return if_spikes(x)


class Centred(Spikes):
    def forward(self, x: Tensor) -> Tensor:
        return if_spikes(x - x.mean(1, keepdim=True) if self.training else x)


class Graded(Spikes):
    def forward(self, x: Tensor) -> Tensor:
        return if_spikes(x) * 1.5


class Silent(Spikes):
    def forward(self, x: Tensor) -> Tensor:
        return if_spikes(x, threshold=1e9)


class _Overflowing(torch.autograd.Function):
    """A sigmoid's slope, written as it stands in textbooks."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        return (v >= 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        e = torch.exp(-4 * ctx.saved_tensors[0])
        return grad * 4 * e / (1 + e) ** 2


class Overflows(Spikes):
    def forward(self, x: Tensor) -> Tensor:
        v, spikes = torch.zeros_like(x[0]), []
        for current in x:
            v = v + current
            spikes.append(_Overflowing.apply(v - 1))
            v = v * (1 - spikes[-1].detach())
        return torch.stack(spikes)


class LooseParameter(Spikes):
    def __init__(self) -> None:
        super().__init__()
        self.leak = nn.Parameter(torch.tensor(0.5))


class OtherSteps(Neuron, neuron.IFNode):
    """A spikingjelly node whose `forward` has another threshold than its single steps."""

    api_version = 1

    def __init__(self) -> None:
        neuron.IFNode.__init__(self, surrogate_function=surrogate.ATan(2.0), step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        return if_spikes(x, threshold=0.7)


NEURONS = [
    (Anticipates, "later_inputs_change_no_earlier_spike", "change spikes before it"),
    (Reversed, "later_inputs_change_no_earlier_spike", "process the steps in order"),
    (Forgets, "earlier_inputs_change_later_spikes", "carry the membrane potential"),
    (Detached, "gradient_goes_back_through_time", "do not detach the membrane potential"),
    (Remembers, "a_forward_leaves_no_state", "leaves the tensor `v`"),
    (CarriesOn, "a_forward_leaves_no_state", "leaves the tensor `v` of shape (3, 4, 5) behind, in training mode"),
    (CarriesABuffer, "a_forward_leaves_no_state", "in eval mode changes v"),
    (Centred, "batch_mates_change_nothing", "other samples of its batch, in training mode"),
    (Graded, "spikes_are_zeros_and_ones", "gives 1.5; spikes are 0 or 1"),
    (Silent, "spikes_are_zeros_and_ones", "set `scale` in the test"),
    (Overflows, "gradient_of_strong_currents", "look for an overflow in the surrogate"),
    (LooseParameter, "gradient_of_parameters", "no gradient reaches the parameter leak"),
    (OtherSteps, "single_steps_give_the_same_spikes", "give other spikes than `forward`"),
]


class Spoiled(ResidualBackbone):
    """resnet, to be spoiled."""

    api_version = 1


class WrongWidth(Spoiled):
    def stages(self) -> list[list[BlockPlan]]:  # type: ignore[misc]
        return [[BlockPlan(p.analog, p.spiking, p.out_channels + 1) for p in stage] for stage in super().stages()]


class WrongReduction(Spoiled):
    def reductions(self) -> list[int]:  # type: ignore[misc]
        return [2 * each for each in super().reductions()]


class WrongConvolution(Spoiled):
    def first_convs(self) -> tuple[str, ...]:  # type: ignore[misc]
        return ("bn",)


class SharedBlocks(Spoiled):
    def stages(self) -> list[list[BlockPlan]]:  # type: ignore[misc]
        first, *rest = super().stages()
        block = first[0].analog()
        return [[BlockPlan(lambda: block, first[0].spiking, first[0].out_channels)], *rest]


class Choosy(Spoiled):
    def __init__(self, base: int, mult: int, depth: int, in_chans: int) -> None:
        super().__init__(base, mult, depth, in_chans)
        if depth > 3:
            raise IndexError(depth)


class Claims(Spoiled):
    @property
    def min_image_size(self) -> int:
        return 8

    def stages(self) -> list[list[BlockPlan]]:  # type: ignore[misc]
        first, *rest = super().stages()
        plan = first[0]
        return [[BlockPlan(lambda: nn.Sequential(plan.analog(), nn.AvgPool2d(3, 1)), plan.spiking, 64)], *rest]


BACKBONES = [
    (WrongWidth, "both_branches_have_the_declared_shape", "`out_channels` is 65, the analog branch gives 64"),
    (WrongReduction, "feature_info_is_true", "feature_info says that level 0 is (64, 4, 4) at 32 pixels"),
    (WrongConvolution, "named_modules_exist", "stages.0.0.analog.bn is not a convolution of the image's 4 channels"),
    (SharedBlocks, "branches_are_built_anew", "gives the same module twice"),
    (Choosy, "sizes_that_it_cannot_build_are_refused", "depth 4 raises IndexError"),
    (Claims, "every_image_size_that_it_claims", "an image of 8×8 pixels raises RuntimeError"),
]


class OfBlocks(GrammarFamily):
    """The names and networks of ann_{backbone}, to be spoiled."""

    api_version = 1
    grammars = (Grammar(SIZE_PARTS),)

    def build(self, request: BuildRequest) -> ImageClassifier:
        return build_paired(request, Pairing(analog=True))


class Deaf(OfBlocks):
    def build(self, request: BuildRequest) -> ImageClassifier:
        return super().build(replace(request, num_classes=10))


class Controlled(OfBlocks):
    def control(self, fields: Mapping[str, Value]) -> str:
        return "snn_resnet_b2_m2_d1_ste_bpd"


class Lenient(OfBlocks):
    @property
    def options(self) -> frozenset[str]:
        return frozenset({"no_such_option"})


class Careless(Family):
    """Names without a grammar."""

    api_version = 1

    def parse(self, remainder: str, known: ComponentNames) -> tuple[tuple[str, Value], ...]:
        width, depth = remainder.split("x")
        return (("width", int(width)), ("depth", int(depth) + 1))

    def format(self, fields: Mapping[str, Value]) -> str:
        return f"{fields['width']}x{fields['depth']}"

    def build(self, request: BuildRequest) -> ImageClassifier:
        raise NotImplementedError


class Exemplary(Careless):
    """Right but for the networks, with examples of its own."""

    examples = ("3x4",)

    def parse(self, remainder: str, known: ComponentNames) -> tuple[tuple[str, Value], ...]:
        return tuple((key, value - (key == "depth")) for key, value in super().parse(remainder, known))


class Optional(Exemplary):
    """Of a library that is not installed."""

    def parse(self, remainder: str, known: ComponentNames) -> tuple[tuple[str, Value], ...]:
        raise MissingPluginError("names that begin with bad_ need vision; install it with: pip install vision")


FAMILIES = [
    (Deaf, "the_model_is_what_was_asked_for", "set them from the request"),
    (Controlled, "the_control_has_no_spikes", "name the same network without its spiking branch"),
    (Lenient, "options", "an unknown option is accepted"),
    (Careless, "names_round_trip", "make `format` the inverse of `parse`"),
    (Careless, "wrong_names_are_refused", "raise a zoo.errors.ModelNameError"),
    (Careless, "it_can_be_built", "raises NotImplementedError"),
]


class Credulous(Converter):
    api_version = 1

    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        return Converted("ann_resnet_b2_m2_d1", 3, 3, state)


class Fragile(Converter):
    api_version = 1

    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        return Converted("ann_resnet_b2_m2_d1", len(state["fc.weight"]), 3, state)


class Faithful(Converter):
    """A model's own state, to be spoiled."""

    api_version = 1

    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        if "fc.weight" not in state:
            raise WeightError("it lacks fc.weight")
        return self.of(len(state["fc.weight"]))

    def of(self, classes: int) -> Converted:
        model = build_model(parse_name("ann_resnet_b2_m2_d1"), classes, 3)
        return Converted("ann_resnet_b2_m2_d1", classes, 3, model.state_dict())


class Doubled(Faithful):
    """Of another type throughout: counts of batches too."""

    def of(self, classes: int) -> Converted:
        made = super().of(classes)
        return replace(made, state={key: value.double() for key, value in made.state.items()})


class Headless(Faithful):
    def of(self, classes: int) -> Converted:
        return super().of(0)


CONVERTERS = [
    (Credulous, "other_checkpoints_are_refused", "is accepted; raise a WeightError"),
    (Fragile, "other_checkpoints_are_refused", "raises KeyError: 'fc.weight'; raise a zoo.errors.WeightError"),
    (Fragile, "the_state_fits_the_model", "loading the state into ann_resnet_b2_m2_d1 raises RuntimeError"),
    (
        Doubled,
        "zoo_convert_stores_it",
        "as `zoo convert` does, raises WeightError: the converted checkpoint does not fit",
    ),
    (Headless, "zoo_convert_stores_it", "the converted checkpoint holds no head.fc.weight"),
]


class FragileTests(ConverterTests):
    """With a checkpoint of the author's."""

    def checkpoint(self) -> Mapping[str, Tensor]:
        return {"fc.weight": torch.zeros(3, 4)}


def result_of(suite: type[ComponentTests], cls: type[Any], check: str, **given: Any) -> CheckResult:
    """One check of a class registered as `bad`."""
    registry = Registry(c for c in default_registry().components() if c.distribution == "has8-zoo")
    registry.register(suite.kind, "bad", cls)
    tests = suite()
    tests.name, tests.registry = "bad", registry
    for attribute, value in given.items():
        setattr(tests, attribute, value)
    return run_check(tests, check)
