"""Operations that images set off: whole small networks counted by hand, and nothing left behind in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron
from spikingjelly.activation_based.op_counter import DispatchCounterMode, SynOpCounter
from torch import Tensor, nn

import zoo
from tests.profiling.test_synapses import pairs
from zoo.contracts import ImageClassifier, Neuron, Price, Work
from zoo.contracts.price import INTEGRATION, NEURON_PRICES
from zoo.errors import InputError
from zoo.families.unit_spikes import fold_thresholds, has_thresholds
from zoo.neurons.nodes import IFNeuron
from zoo.profiling import OperationCounts, Part, profile
from zoo.profiling.prices import prices_of
from zoo.profiling.recorder import Recorder
from zoo.registry.components import Registry, default_registry

TINY = "has8_resnet_b1_m1_d1_ste_bpd"


def inputs_of(model: ImageClassifier, images: Tensor) -> dict[str, Tensor]:
    """The inputs of every convolution and linear layer, caught by hooks of our own."""
    caught: dict[str, Tensor] = {}

    def hook_of(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: caught.update({name: inputs[0].clone()})

    layers = {n: m for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    hooks = [module.register_forward_hook(hook_of(name)) for name, module in layers.items()]
    with model.evaluating():
        model(images)
    for hook in hooks:
        hook.remove()
    return caught


def activity_of(model: ImageClassifier | str, images: Tensor) -> OperationCounts:
    network = zoo.create_model(model) if isinstance(model, str) else model
    recorder = Recorder(network)
    with recorder.watching():
        network(images)
    return recorder.counts(len(images))


def elementwise(activity: OperationCounts) -> dict[str, tuple[int, int]]:
    works = [item for part in activity.elementwise.values() for item in part.items()]
    return {price.operation: (work.macs, work.acs) for price, work in works}


# Whole networks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [TINY, "snn_vgg_b1_m1_d1_fourier_rate_lif", "ann_resnet_b1_m1_d1", "sew_resnetsmall_b4_m1_d1_direct"]
)
def test_every_layer_of_a_small_network_counted_by_unfolding(name: str) -> None:
    model, images = zoo.create_model(name, num_classes=3), torch.rand(2, 3, 4, 4)
    with torch.no_grad():  # enough current for spikes in every layer
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.bias.fill_(0.3)
    if has_thresholds(model):
        fold_thresholds(model)
    caught, counted = inputs_of(model, images), activity_of(model, images)
    assert {s.name for s in counted.synapses} == set(caught)
    for synapses in counted.synapses:
        module, x = model.get_submodule(synapses.name), caught[synapses.name]
        if isinstance(module, nn.Linear):
            expected = int(x.count_nonzero()) * module.out_features
        else:
            assert isinstance(module, nn.Conv2d)
            expected = pairs(x.reshape(-1, *x.shape[-3:]), module)
        assert synapses.used == expected, synapses.name
        binary = bool(((x == 0) | (x == 1)).all())
        assert (synapses.operation, synapses.counted) == (("AC", synapses.used) if binary else ("MAC", synapses.dense))
        assert binary or synapses.branch == "analog"  # a ReLU of so few channels may be dead


@pytest.mark.parametrize(
    "name",
    [
        "snn_resnet_b2_m1_d1_fourier_bpd_plif",
        "sew_resnet18_rate",
        pytest.param("has8_vgg_b4_m2_d2_ste_rate_lif", marks=pytest.mark.slow),
        pytest.param("has8_resnet50_b4_m2_d4_ste_bpd", marks=pytest.mark.slow),
    ],
)
def test_spikingjellys_counter_agrees_on_networks_of_spikes(name: str) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"timesteps": 2} if name.startswith("sew") else {}
    model, images, counter = zoo.create_model(name, num_classes=3, **options), torch.rand(2, 3, 32, 32), SynOpCounter()
    with model.evaluating(), DispatchCounterMode([counter]):
        model(images)
    assert activity_of(model, images).synaptic.acs == counter.get_total()


def test_sums_of_spikes_in_sew_are_macs() -> None:
    model = zoo.create_model("sew_resnet18_rate", num_classes=2, timesteps=2)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.bias.fill_(1.5)  # every neuron fires in every timestep
    counted = {s.name: s for s in activity_of(model, torch.rand(1, 3, 32, 32)).synapses}
    assert counted["stages.0.0.conv1"].operation == counted["stages.0.1.conv2"].operation == "AC"
    assert counted["stages.0.1.conv1"].operation == "MAC"
    assert (counted["stages.0.1.conv1"].levels, counted["stages.1.0.conv1"].levels) == (2, 3)
    assert counted["stages.1.0.conv1"].counted == counted["stages.1.0.conv1"].dense
    assert counted["head.fc"].operation == "MAC"


def test_activations_inside_a_norm_are_charged() -> None:
    """timm's batch norms call their activation themselves."""
    model, images, seen = (
        zoo.create_model("timm_test_efficientnet", num_classes=2),
        torch.rand(1, 3, 32, 32),
        Counter[str](),
    )
    for module in model.modules():
        if isinstance(module, nn.SiLU):
            module.register_forward_hook(lambda m, args, y: seen.update({"gated function": y.numel()}))
    with model.evaluating():
        model(images)
    wanted = dict(seen)["gated function"]
    activity = activity_of(model, images)
    assert elementwise(activity)["gated function"] == (2 * wanted, wanted)
    assert not activity.uncounted


@pytest.mark.parametrize(("bias", "rate"), [(-9.0, 0.0), (9.0, 1.0)])
def test_rates_of_no_spike_and_of_every_spike(bias: float, rate: float) -> None:
    model = zoo.create_model("snn_vgg_b1_m1_d1_ste_bpd", num_classes=2)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.bias.fill_(bias)
            elif isinstance(module, nn.Linear):
                module.weight.zero_()
                module.bias.fill_(bias)
    images = torch.ones(1, 3, 4, 4)  # 255: every plane is full
    counted = activity_of(model, images)
    assert counted.spike_rate == rate
    assert {each.rate for each in counted.rates if not each.encoder} == {rate}
    assert next(each for each in counted.rates if each.encoder).rate == 1.0
    first, second = (s for s in counted.synapses if s.name.startswith("stages"))
    full = 3 * 3 * 8 * (3 * 4 - 2) ** 2  # 3 to 3 channels, T = 8, 4×4 pixels less the taps beyond the border
    assert first.used == full
    assert second.used == rate * 3 * 3 * 8 * (3 * 2 - 2) ** 2


def test_everything_else_of_a_small_network_counted_by_hand() -> None:
    """VGG b1, m1, d1 at 4×4: pixels 48, then 12, then 3 features; T = 8; the head is encoded too."""
    counted = elementwise(activity_of("has8_vgg_b1_m1_d1_ste_bpd", torch.rand(1, 3, 4, 4)))
    encoded = 48 + 12 + 3
    neurons = 8 * (48 + 12 + 1024 + 512 + 1000)
    decoded = 12 + 3 + 1000
    pooled = {"read": 9 * (48 + 12) + 3, "written": 9 * (12 + 3) + 3}  # analog once, spiking in 8 timesteps; the head
    assert counted == {
        "range step": (encoded, 2 * encoded),
        "bit-plane encoder": (0, encoded),
        "integrate-and-fire neuron": (0, 2 * neurons),
        "batch norm behind a layer": (0, 0),
        "average pooling, mean": (pooled["written"], pooled["read"]),
        "decoder": (decoded, 8 * decoded),
        "leaky ReLU": (neurons // 8, neurons // 8),
        "addition": (0, decoded),
    }


def test_a_single_small_image_is_counted_once() -> None:
    """Our Conv2d convolves it twice, for the sake of equal rounding."""
    model, image = zoo.create_model("ann_resnet_b1_m1_d1", num_classes=2), torch.rand(1, 3, 8, 8)
    one, two = activity_of(model, image), activity_of(model, torch.cat((image, image)))
    assert two.synaptic == one.synaptic * 2
    assert two.work()[Part.REST] == one.work()[Part.REST] * 2


# Prices that components declare ------------------------------------------------------------------------------------

OWN = Price("a gate", read=Work(3, 5), written=Work(7, 11), reason="it was measured")
PARTS = {"encoder": "ste", "decoder": "bpd", "neuron": "if"}
VALUES = {"encoder": (63, 8 * 63), "decoder": (8 * 17, 17), "neuron": (8 * 1598, 8 * 1598)}
"""Values that the components of a VGG b1, m1, d1 read and write: 48, 12, 3 features; neurons after five layers."""


class Inside(Neuron):
    """The zoo's own neuron inside another, which alone is charged."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = IFNeuron()

    def forward(self, x: Tensor) -> Tensor:
        spikes: Tensor = self.inner(x)
        return spikes


def work_of(kind: str, prices: tuple[Price, ...]) -> dict[Part, dict[Price, Work]]:
    """The work of a small network whose component of a kind declares these prices."""
    base: Any = Inside if kind == "neuron" else default_registry().load(kind, PARTS[kind])
    registry = Registry(default_registry().components())
    registry.register(kind, "mine", type("Mine", (base,), {"prices": prices, "api_version": 1}))
    name = f"has8_vgg_b1_m1_d1_{'_'.join((PARTS | {kind: 'mine'}).values())}"
    found = activity_of(zoo.create_model(name, num_classes=2, registry=registry), torch.rand(1, 3, 4, 4))
    assert not found.uncounted
    return found.elementwise


@pytest.mark.parametrize("kind", PARTS)
def test_a_declared_price_is_charged_and_no_price_costs_nothing(kind: str) -> None:
    (read, written), part = VALUES[kind], Part.NEURONS if kind == "neuron" else Part.CODING
    charged = work_of(kind, (OWN,))[part]
    assert charged[OWN] == Work(3 * read + 7 * written, 5 * read + 11 * written)
    assert not set(default_registry().load(kind, PARTS[kind]).prices) & set(charged)
    assert OWN not in work_of(kind, ()).get(part, {})


def test_nodes_of_spikingjelly_declare_nothing_and_are_known() -> None:
    assert prices_of(neuron.IFNode()) == (Part.NEURONS, (INTEGRATION,))
    for node in (neuron.LIFNode(), neuron.ParametricLIFNode(), neuron.EIFNode()):
        assert prices_of(node) == (Part.NEURONS, NEURON_PRICES)


# Plugins and unknown layers -------------------------------------------------------------------------------------------


def test_an_unknown_layer_is_listed_and_never_taken_for_0_in_silence() -> None:
    model = zoo.create_model("ann_resnet_b1_m1_d1", num_classes=2)
    model.get_submodule("stages.0.0").analog.act = Erfinv()
    counted = activity_of(model, torch.rand(2, 3, 8, 8))
    ((what, calls),) = counted.uncounted.items()
    assert (what.module, what.kind, what.operation, calls) == ("stages.0.0.analog.act", "Erfinv", "aten.erfinv", 1)
    assert counted.to_json()["not_counted"] == [what._asdict() | {"calls": 1}]


class Erfinv(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(-0.9, 0.9).erfinv()


def test_batch_norm_behind_pooling_of_a_layer_folds() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
    recorder = Recorder(network)
    with recorder.watching(2):
        network(torch.rand(2, 3, 8, 8))
    work = elementwise(recorder.counts(2))
    assert work["batch norm behind a layer"] == (0, 0)
    assert work["other batch norm"] == (2 * 4 * 3 * 3, 0)  # the second one alone


def test_real_currents_of_an_encoder_are_no_spikes() -> None:
    counted = activity_of("sew_resnetsmall_b1_m1_d1_direct", torch.rand(1, 3, 8, 8))
    assert counted.rates
    assert not [rate for rate in counted.rates if rate.encoder]


def test_a_batch_norm_that_follows_no_layer_is_not_folded() -> None:
    model = zoo.create_model("ann_resnet_b1_m1_d1", num_classes=2)
    model.get_submodule("stages.0.0").analog.act = nn.BatchNorm2d(64)
    work = elementwise(activity_of(model, torch.rand(1, 3, 8, 8)))
    assert work["other batch norm"] == (64 * 4 * 4, 0)
    assert work["batch norm behind a layer"] == (0, 0)


# Nothing is left behind -----------------------------------------------------------------------------------------------


def state_of(model: ImageClassifier) -> list[Any]:
    return [
        (dict(m._forward_hooks), dict(m._forward_pre_hooks), m.training, sorted(vars(m))) for m in model.modules()
    ] + [each.clone() for each in model.state_dict().values()]


def test_the_network_is_as_it_was_also_after_an_exception() -> None:
    model = zoo.create_model(TINY, num_classes=2).train()
    model.get_submodule("stages.0").eval()
    before, rng, recorder = state_of(model), torch.get_rng_state(), Recorder(model)
    profile(model, images=torch.ones(2, 3, 8, 8))
    assert torch.equal(torch.get_rng_state(), rng)
    hook = model.get_submodule("stages.1.0.spiking").register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError), recorder.watching():
        model(torch.rand(1, 3, 8, 8))
    hook.remove()
    after = state_of(model)
    assert all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(before, after, strict=True))
    with recorder.watching():
        model(torch.rand(1, 3, 8, 8))
    assert not recorder.counts(1).uncounted
    with pytest.raises(InputError, match="meta"):
        profile(zoo.create_model(TINY, device="meta"), images=torch.rand(1, 3, 8, 8))
