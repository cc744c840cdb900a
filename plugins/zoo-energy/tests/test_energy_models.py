"""Every model of energy counted by hand, to the unit, on a network of one convolution, one neuron and one decoder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn
from zoo_energy.yan import Yan
from zoo_kit import suites_of

import zoo
from zoo.contracts import ImageClassifier, Operations, SynapticLayer, Work
from zoo.contracts.energy import SpikeRate
from zoo.cpu.functions import only_definitions
from zoo.decoders.averages import RateDecoder
from zoo.neurons.nodes import IFNeuron
from zoo.profiling import Estimate, Picojoules, break_even, profile
from zoo.profiling.energy import Observation, energy_models, estimate_all
from zoo.profiling.recorder import Recorder

IMAGE = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])[None, None]
"""The corner meets one of the four taps of a 2×2 kernel, the centre all four."""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Toy(ImageClassifier):
    """3×3 pixels in, four logits out; with spikes the image is shown in two timesteps."""

    def __init__(self, spiking: bool) -> None:
        super().__init__(zoo.parse_name("ann_resnet_b1_m1_d1"), 4, 1, 3)
        conv = layer.Conv2d(1, 1, 2, bias=False, step_mode="m") if spiking else nn.Conv2d(1, 1, 2, bias=False)
        nn.init.constant_(conv.weight, 0.6)
        self.spikes = spiking
        self.body = nn.Sequential(conv, IFNeuron()) if spiking else conv
        self.decoder = RateDecoder()

    def forward_features(self, x: Tensor) -> Tensor:
        return self.decoder(self.body(x.expand(2, *x.shape))) if self.spikes else self.body(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return x.flatten(1)

    def forward_stages(self, x: Tensor, last: int) -> list[Tensor]:
        return [self.forward_features(x)]

    def get_classifier(self) -> nn.Module:
        return nn.Identity()

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        raise NotImplementedError

    @property
    def classifier_names(self) -> tuple[str, ...]:
        return ()

    @property
    def first_conv_names(self) -> tuple[str, ...]:
        return ("body.0",)

    @property
    def spiking_module_names(self) -> tuple[str, ...]:
        return ("body",) if self.spikes else ()

    @property
    def timesteps(self) -> int:
        return 2 if self.spikes else 1


@cache
def estimates() -> dict[str, Estimate]:
    """Of the toy with spikes beside the one without, of a single image; the latter sees half of its brightness."""
    observations = []
    for network, image in ((Toy(True), IMAGE), (Toy(False), IMAGE / 2)):
        recorder, models = Recorder(network), {name: model(network) for name, model in energy_models().items()}
        with recorder.watching():
            network(image)
        for model in models.values():
            model.measure(image)
        observations.append(Observation(recorder.counts(1), models))
    return {estimate.name: estimate for estimate in estimate_all(*observations)}


def totals(estimates: Iterable[Estimate]) -> dict[str, float]:
    """Picojoules of an image, by model of energy."""
    return {each.name: each.network.total for each in estimates if each.network is not None}


globals().update(suites_of("zoo-energy"))  # the zoo's conformance kit on every model


# T = 2 timesteps of four outputs and four taps. Spikes and weights that meet: (1 + 4) · 2. Currents are 1.2 where the
# corner is, 0.6 elsewhere: with threshold 1 that is one spike, then four.
SYNAPSES, SPIKES_IN, VALUES, SPIKES_OUT = 10, 4, 8, 5
NEURON, DECODER_ADDS, DECODER_SCALES = 2 * VALUES, VALUES, 4
DENSE, USED = 16, 1 + 4
"""Multiply-accumulates of the toy without spikes, and those whose input is not 0."""

PATCH = 19.64 * 8 + 4.64 + 397 + 8 * 16 * 1.15e-6 + 8 * 0.2 + 64 * (2.03084 + 0.094245)
"""SpikeSim's picojoules of one output pixel: transport, buffers, and 64 converters of a 64 × 64 crossbar."""
CROSSBAR, NEURON_CELL = 1.76423, 1.274 * 4


def arithmetic(mac: float, ac: float, synapse: float) -> Picojoules:
    once = DECODER_SCALES * mac
    repeated = (NEURON + DECODER_ADDS) * ac
    return Picojoules(SYNAPSES * synapse + repeated + once, SYNAPSES * synapse, SYNAPSES * synapse + repeated)


def with_memory() -> Picojoules:
    plain, of_synapses, of_neurons = arithmetic(4.6, 0.9, 0.9), SPIKES_IN + 3 * SYNAPSES, 2 * VALUES
    return Picojoules(
        plain.total + 5 * (of_synapses + of_neurons + SPIKES_OUT),
        plain.spikes + 5 * (of_synapses + SPIKES_OUT),
        plain.timesteps + 5 * (of_synapses + of_neurons + SPIKES_OUT),
    )


def spikingjellys(synapse: float) -> Picojoules:
    """It knows no rule for our neuron; it counts the decoder's sum, and one of its own over each batch's 8 outputs."""
    own_sum, decoder = 7 * 0.9, (2 - 1) * 4 * 0.9
    inside = SYNAPSES * synapse + own_sum
    return Picojoules(inside + decoder, SYNAPSES * synapse, inside)


def spikesim_event() -> Picojoules:
    every = VALUES * PATCH + SYNAPSES * CROSSBAR / 8 * 64 + VALUES * NEURON_CELL  # the centre meets every output
    return Picojoules(every, every, every)


def spikesim_dense(sites: int) -> float:
    return sites * (PATCH + NEURON_CELL + 8 * 4 * CROSSBAR)


def lemaire() -> Picojoules:
    """Buffers of b bytes cost b · 2.5 / 8192 pJ a byte, and a queue of 4,000 bytes holds the spikes."""
    byte = 2.5 / 8192
    operations = 4 * SPIKES_IN * (0.1 + 0.1) + 2 * SPIKES_IN * 3.2  # it takes every spike for one that meets all taps
    layer = operations + 4 * SPIKES_IN * 4000 * byte + 3 * (4 * SPIKES_IN * 4) * 16 * byte
    neuron = SPIKES_OUT * 0.1 + 2 * (4 * VALUES) * 16 * byte + 4 * SPIKES_OUT * 4000 * byte
    return Picojoules(layer + neuron, layer, layer + neuron)


LEMAIRE_DENSE = DENSE * 3.2 + (9 + 4 + 4) * 0.1 + (4 * DENSE * 36 + 4 * DENSE * 16 + 4 * 4 * 16) * 2.5 / 8192


def yan() -> Picojoules:
    spikes = SYNAPSES * (0.05448 + 3 + 0.15) + SPIKES_OUT * 0.05448
    return Picojoules(spikes + VALUES * 0.05448, spikes, spikes + VALUES * 0.05448)


BY_HAND = {
    "arithmetic-float32": (arithmetic(4.6, 0.9, 0.9), DENSE * 4.6),
    "arithmetic-int8": (arithmetic(0.23, 0.03, 0.03), DENSE * 0.23),
    "memory-float32": (with_memory(), DENSE * 4.6 + 5 * (2 * DENSE + 4)),
    "arithmetic-float32-sparse": (arithmetic(4.6, 0.9, 0.9), USED * 4.6),
    "arithmetic-int8-sparse": (arithmetic(0.23, 0.03, 0.03), USED * 0.23),
    "shift-add-float32": (arithmetic(4.6, 0.9, 0.9), USED * 4.6),
    "shift-add-int8": (arithmetic(0.23, 0.03, 0.03), USED * 0.23),
    "lowbit": (arithmetic(0.3, 0.1, 0.1), USED * 0.3),
    "memory-shift-add": (with_memory(), USED * 4.6 + 5 * (2 * USED + 4)),
    "yan-22nm": (yan(), DENSE * (8 * 0.25 + 0.15) + USED * 8 * 0.045),
    "spikingjelly-lemaire": (lemaire(), LEMAIRE_DENSE),
    "loihi-synapses": (arithmetic(4.6, 0.9, 23.6), DENSE * 4.6),
    "spikingjelly-compute": (spikingjellys(0.9), DENSE * 4.6),
    "spikingjelly-memory": (spikingjellys(0.9 + 4 * 24.96), DENSE * (4.6 + 4 * 24.96)),
    "spikesim-dense": (Picojoules(spikesim_dense(VALUES), 0.0, spikesim_dense(VALUES)), spikesim_dense(4)),
    "spikesim-event": (spikesim_event(), 4 * PATCH + 16 * CROSSBAR / 8 * 64 + 4 * NEURON_CELL),
}


def test_every_model_is_counted_by_hand() -> None:
    assert set(estimates()) == set(BY_HAND)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_model_by_hand(name: str) -> None:
    wanted, control = BY_HAND[name]
    estimate = estimates()[name]
    assert estimate.network is not None
    assert estimate.control is not None
    assert estimate.network.total == pytest.approx(wanted.total, rel=1e-12)
    assert estimate.network.spikes == pytest.approx(wanted.spikes, rel=1e-12)
    assert estimate.network.timesteps == pytest.approx(wanted.timesteps, rel=1e-12)
    assert estimate.control.total == pytest.approx(control, rel=1e-12)
    assert estimate.ratio == pytest.approx(wanted.total / control, rel=1e-12)


def test_the_literal_figures_of_two_models() -> None:
    """49 pJ: 10 + 16 + 8 accumulates of 0.9 and 4 multiply-accumulates of 4.6; with memory 55 accesses of 5 pJ more."""
    found = totals(estimates().values())
    assert found["arithmetic-float32"] == pytest.approx(49.0)
    assert found["memory-float32"] == pytest.approx(49.0 + 275.0)
    assert found["loihi-synapses"] == pytest.approx(236.0 + 21.6 + 18.4)


# Break-even -----------------------------------------------------------------------------------------------------------


def test_break_even_by_hand() -> None:
    """Memory: control 253.6 pJ, network 324; 204 pJ go with spikes, 305.6 with T."""
    points = {point.model: point for point in break_even(list(estimates().values()), 5 / 8, 2)}
    assert set(points) == set(BY_HAND)
    memory = points["memory-float32"]
    assert memory.spike_rate == pytest.approx(5 / 8 * (1 - 70.4 / 204))
    assert memory.timesteps == pytest.approx(2 * (1 - 70.4 / 305.6))
    assert (memory.spike_rate_note, memory.timesteps_note) == ("", "")
    assert (points["arithmetic-float32"].spike_rate, points["arithmetic-float32"].spike_rate_note) == (
        None,
        "costs less at every rate",
    )
    assert points["arithmetic-float32"].timesteps == pytest.approx(2 * (1 + 24.6 / 30.6))
    assert points["spikesim-dense"].spike_rate_note == "does not depend on spikes"
    assert points["spikesim-dense"].timesteps == pytest.approx(1)
    assert points["spikesim-event"].spike_rate_note == "at most"


@pytest.mark.parametrize("model", ["arithmetic-float32", "memory-float32", "loihi-synapses"])
def test_at_the_break_even_rate_both_cost_the_same(model: str) -> None:
    """Spikes are put into, or taken from, what was counted, until the rate is that of the break-even."""
    estimate = estimates()[model]
    (point,) = break_even([estimate], 5 / 8, 2)
    assert estimate.network is not None
    assert estimate.control is not None
    rest = estimate.network.total - estimate.network.spikes
    if point.spike_rate is None:
        assert rest + estimate.network.spikes / (5 / 8) < estimate.control.total or rest > estimate.control.total
    else:
        grown = estimate.network.spikes * point.spike_rate / (5 / 8)
        assert rest + grown == pytest.approx(estimate.control.total)


@pytest.mark.slow
def test_a_hybrid_contains_its_control_and_has_no_break_even() -> None:
    images = torch.rand(2, 3, 8, 8)
    hybrid = profile("has8_resnet_b1_m1_d1_ste_bpd", images=images, num_classes=3)
    assert hybrid.contains_control
    assert hybrid.break_even == ()
    assert all(estimate.ratio is not None and estimate.ratio > 1 for estimate in hybrid.estimates)
    spiking = profile("snn_vgg_b1_m1_d1_ste_bpd", images=images, num_classes=3)
    assert not spiking.contains_control
    assert {point.model for point in spiking.break_even} == set(BY_HAND)
    assert not profile("sew_resnet18_rate", images=torch.rand(2, 3, 32, 32), num_classes=3).contains_control
    alone = profile("ann_resnet_b1_m1_d1", images=images, num_classes=3)
    assert (alone.contains_control, alone.break_even, alone.energy_range) == (False, (), None)
    assert all(estimate.ratio is None for estimate in alone.estimates)


# Whole networks -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_spikingjellys_own_functions_say_the_same() -> None:
    from spikingjelly.activation_based.op_counter import (
        SpikeSimEnergyConfig,
        estimate_simple_energy,
        estimate_spikesim_energy,
    )
    from zoo_energy.spikingjelly import countable

    model, images = zoo.create_model("has8_resnet_b8_m2_d4_ste_bpd", pretrained=True).eval(), torch.rand(2, 3, 32, 32)
    found = totals(profile(model, images=images).estimates)
    with only_definitions():  # their counters see torch's operations alone
        with countable(model):
            simple = estimate_simple_energy(model, images)
        dense = estimate_spikesim_energy(model, images, config=SpikeSimEnergyConfig(activity_mode="dense"))
        event = estimate_spikesim_energy(model, images, config=SpikeSimEnergyConfig(activity_mode="event"))
    theirs = {
        "spikingjelly-compute": simple.energy_compute_pj,
        "spikingjelly-memory": simple.energy_total_pj,
        "spikesim-dense": dense.energy_total_pj,
        "spikesim-event": event.energy_total_pj,
    }
    for name, energy in theirs.items():
        assert found[name] == pytest.approx(energy / 2)


@pytest.mark.slow
def test_the_share_of_timesteps_is_found_in_groups_that_are_never_called() -> None:
    """`stages` of a SEW-ResNet only holds its blocks: all but the last layer runs in every timestep."""
    found = profile("sew_resnet18_rate", images=torch.rand(2, 3, 32, 32), num_classes=3).estimates
    for estimate in found:
        assert estimate.network is not None
        assert estimate.network.timesteps > 0.95 * estimate.network.total, estimate.name


def test_an_image_costs_as_much_alone_as_in_a_batch() -> None:
    """But for spikingjelly's own sums over a batch, each of which is an addition shorter than it is long."""
    image = torch.rand(1, 3, 8, 8)
    one = profile("ann_resnet_b1_m1_d1", images=image, num_classes=3).estimates
    two = profile("ann_resnet_b1_m1_d1", images=torch.cat((image, image)), num_classes=3).estimates
    assert totals(one) == pytest.approx(totals(two), rel=1e-4)


# The twin -------------------------------------------------------------------------------------------------------------

NAME = "sew_resnetsmall_b4_m2_d2_direct"
WAITING = {"v_reset": None, "v_init": 0.5, "waits": True}


def test_every_model_runs_on_networks_with_thresholds_and_on_their_twins() -> None:
    """spikingjelly takes an input for spikes only if it is 0 or 1, which folding thresholds makes it."""
    network = zoo.create_model(NAME, num_classes=3, timesteps=3, neuron_options=WAITING)
    found = {each.name: each for each in profile(network, images=torch.rand(2, 3, 32, 32)).estimates}
    for name, estimate in found.items():
        assert estimate.refusal == "", name
        assert estimate.network is not None
        assert estimate.twin is not None
        assert estimate.network.total > 0
    simple = found["spikingjelly-compute"]
    assert simple.network is not None
    assert 0 < simple.network.spikes < simple.network.total
    dense = found["spikesim-dense"]
    assert dense.twin_ratio is not None
    assert 2 < dense.twin_ratio < 3  # T times, but for the first convolution


def crossover(**prices: float) -> float:
    """The spike rate at which Yan's model charges T = 5 timesteps as much as 3 bits: a neuron with 4,096 inputs.

    Zeros are as many as of a network between that with one spike for each nonzero activation and that with T.
    """
    model = type("Other", (Yan,), prices)(Toy(True))
    inputs, timesteps = 4096, 5

    def excess(rate: float) -> float:
        nonzero = 2 * rate / (1 / timesteps + 1)
        spikes = SynapticLayer("a", "spiking", "AC", "", 5 * inputs, round(5 * rate * inputs), 0, 0, 5, 1)
        levels = SynapticLayer("a", "analog", "MAC", "", inputs, round(nonzero * inputs), 0, 0, 1, timesteps)
        firing = SpikeRate("n", "IF", False, round(5 * rate), 5)
        own = model.estimate(Operations(1, (spikes,), (firing,), Work(), Work())).total
        return float(own - model.estimate(Operations(1, (levels,), (), Work(), Work())).total)

    rates = [step / 10_000 for step in range(1, 3000)]
    return next(rate for rate in rates if excess(rate) > 0)


def test_yans_crossover_is_5_7_percent_at_five_timesteps() -> None:
    assert crossover() == pytest.approx(0.057, abs=0.0005)
    assert crossover(weight=0.075) == pytest.approx(0.0539, abs=0.0005)
    assert crossover(weight=0.225) == pytest.approx(0.0608, abs=0.0008)
    assert crossover(move=0.125) == pytest.approx(0.0341, abs=0.001)
    assert crossover(event=1.5) == pytest.approx(0.108, abs=0.001)


def test_a_model_that_does_not_run_says_why() -> None:
    found = profile("has8_resnet_b1_m1_d1_ste_bpd_plif", images=torch.rand(1, 3, 8, 8), num_classes=3)
    refused = {each.name: each for each in found.estimates if each.refusal}
    assert set(refused) == {"spikesim-dense", "spikesim-event"}
    assert "IF/LIF" in refused["spikesim-dense"].refusal
    assert refused["spikesim-dense"].network is None
    assert refused["spikesim-dense"].ratio is None
    assert found.energy_range is not None
    assert set(found.energy_range.models) == set(BY_HAND) - set(refused)


def test_the_json_and_the_statement_name_the_range() -> None:
    cost = profile("snn_vgg_b1_m1_d1_ste_bpd", images=torch.rand(2, 3, 8, 8), num_classes=3)
    written: dict[str, Any] = json.loads(json.dumps(cost.to_json(), allow_nan=False))
    rows = {row["name"]: row for row in written["energy_models"]}
    assert set(rows) == set(BY_HAND)
    assert "yan-22nm" in rows
    ratios = [row["ratio"] for row in rows.values()]
    assert written["energy_ratios"] == pytest.approx([min(ratios), max(ratios)])
    assert written["energy_ratio"] == pytest.approx(rows["arithmetic-float32"]["ratio"])
    for row in rows.values():
        assert row["network_pj"] > 0
        assert row["control_pj"] > 0
        assert all(row[key] for key in ("source", "prices", "charges", "leaves_out"))
    lowest, highest = min(rows.values(), key=lambda row: row["ratio"]), max(rows.values(), key=lambda row: row["ratio"])
    ends = f"{lowest['ratio']:.2f} ({lowest['name']}) to {highest['ratio']:.1f} ({highest['name']})"
    assert f"costs {ends} times the energy of its control" in cost.statement
    assert cost.energy_range is not None
    microjoules = {name: (row["network_pj"] / 1e6, row["control_pj"] / 1e6) for name, row in rows.items()}
    assert cost.energy_range.models == microjoules
    assert {point["model"] for point in written["break_even"]} == set(BY_HAND)
    assert written["contains_control"] is False


def test_the_docs_list_every_model() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "energy-models.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in page for name in energy_models())
