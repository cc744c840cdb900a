"""A network's twin and control, the counts that compare them, and sequential steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.profiling.test_synapses import seen
from zoo.contracts import ImageClassifier
from zoo.families.thresholds import calibrate
from zoo.models.steps import count_steps
from zoo.neurons.nodes import IFNeuron
from zoo.profiling import profile, twin_of
from zoo.profiling.rates import spike_rates, spiking_layers

WAITING: dict[str, Any] = {"v_reset": None, "v_init": 0.5, "waits": True}
STREAMING = WAITING | {"waits": False}


def spiking(name: str, timesteps: int, neuron: dict[str, Any]) -> ImageClassifier:
    """A network whose thresholds and batch norms have seen random images."""
    torch.manual_seed(1)
    network = zoo.create_model(name, num_classes=5, timesteps=timesteps, neuron_options=neuron)
    images = torch.rand(8, 3, 32, 32)
    network(images)
    calibrate(network, images)
    return network.eval()


def test_the_twin_gives_the_same_logits_by_the_same_tensors() -> None:
    network, images = spiking("sew_resnetsmall_b4_m2_d2_direct", 4, WAITING), torch.rand(5, 3, 32, 32)
    twin = twin_of(network)
    assert twin is not None
    assert (str(twin.spec), twin.spec.options) == ("ann_resnetsmall_b4_m2_d2", {"family": {"levels": 4}})
    assert twin.timesteps == 1
    with torch.no_grad():
        torch.testing.assert_close(twin(images), network(images), atol=1e-6, rtol=1e-5)
    for own, theirs in zip(network.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(own, theirs)


def test_the_levels_of_a_twin_are_the_rates_of_its_neurons() -> None:
    network, images = spiking("sew_resnetsmall_b4_m1_d1_direct", 4, WAITING), torch.rand(3, 3, 32, 32)
    twin = twin_of(network)
    assert twin is not None
    rates = []
    for model in (network, twin):
        with torch.no_grad(), spike_rates(spiking_layers(model)) as calls:
            model(images)
        rates.append([float(call.rate) for call in calls])
    assert max(rates[0]) > 0.1
    assert rates[1] == pytest.approx(rates[0], abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_rate_of_an_activation_is_that_of_the_neuron_inside(dtype: torch.dtype) -> None:
    network, images = spiking("sew_resnetsmall_b4_m1_d1_direct", 4, STREAMING).to(dtype), torch.rand(3, 3, 32, 32)
    neurons = {name: part for name, part in network.named_modules() if isinstance(part, IFNeuron)}
    rates = []
    for layers in (neurons, spiking_layers(network)):
        with torch.no_grad(), spike_rates(layers) as calls:
            network(images.to(dtype))
        rates.append([float(call.rate) for call in calls])
    assert len(rates[0]) == len(neurons)
    assert max(rates[0]) > 0.1
    assert rates[1] == pytest.approx(rates[0], rel=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sew_resnetsmall_b4_m1_d1_direct", {"timesteps": 4, "neuron_options": STREAMING}),
        ("sew_resnetsmall_b4_m1_d1_ttfs", {"neuron_options": WAITING}),
        ("sew_resnet18_direct", {"neuron_options": WAITING}),
        ("has8_resnet_b1_m1_d1_ste_bpd", {}),
        ("ann_resnet_b1_m1_d1", {}),
    ],
)
def test_no_other_network_has_a_twin(name: str, options: dict[str, Any]) -> None:
    network = zoo.create_model(name, num_classes=2, **options)
    assert twin_of(network) is None


def test_a_fused_network_has_no_twin_for_its_norms_are_gone() -> None:
    assert twin_of(spiking("sew_resnetsmall_b4_m1_d1_direct", 2, WAITING).fuse()) is None


def test_the_profile_counts_spikes_beside_the_levels_that_they_stand_for() -> None:
    found = profile(spiking("sew_resnetsmall_b4_m2_d2_direct", 4, WAITING), images=torch.rand(2, 3, 32, 32))
    assert found.twin is not None
    assert found.activity is not None
    assert found.twin.activity is not None
    assert not found.activity.uncounted
    assert not found.twin.activity.uncounted
    spikes = {layer.name: layer for layer in found.activity.synapses if layer.operation == "AC"}
    levels = [layer for layer in found.twin.activity.synapses if layer.levels is not None]
    assert len(levels) == len(spikes) == 10
    for layer in levels:
        own = spikes[layer.name.replace(".analog.", ".spiking.")]
        assert own.levels == 1
        assert own.bits == own.used
        assert layer.bits is not None
        assert layer.used <= layer.bits <= own.used <= 4 * layer.used
    used = sum(layer.used for layer in spikes.values()) / sum(layer.used for layer in levels)
    assert found.additions_per_mac == pytest.approx(used)
    assert 1 < used < 4
    assert found.additions_per_mac_in_all is not None
    assert found.additions_per_mac_in_all > used  # neurons compare in every timestep, quantised activations once
    rate = sum(layer.used for layer in spikes.values()) / sum(layer.dense for layer in spikes.values())
    assert found.activity.synaptic_spike_rate == pytest.approx(rate)
    assert found.to_json()["activity"]["synaptic_spike_rate"] != found.activity.spike_rate
    assert found.spikes_per_activation is not None
    assert 1 < found.spikes_per_activation < 4
    rows = {each.name: each for each in found.estimates}
    shifted, sparse = rows["shift-add-float32"], rows["arithmetic-float32-sparse"]
    assert shifted.twin_ratio is not None
    assert shifted.twin_ratio > 1  # a level has at most as many set bits as spikes
    assert sparse.twin is not None
    assert sparse.twin.total < rows["arithmetic-float32"].twin.total
    written = found.to_json()
    assert written["twin"]["name"] == "ann_resnetsmall_b4_m2_d2"
    assert written["additions_per_mac"] == found.additions_per_mac
    assert {row["twin_ratio"] is not None for row in written["energy_models"]} == {True}


def test_set_bits_of_levels_by_hand() -> None:
    """5 and 6 have two set bits, 3 has two, 8 one: each of three outputs meets all of them."""
    layer, x = nn.Linear(6, 3), torch.tensor([[5.0, 6.0, 3.0, 8.0, 0.0, 1.0]])
    counted = seen(layer, x)
    assert (counted.levels, counted.used, counted.bits) == (8, 3 * 5, 3 * (2 + 2 + 2 + 1 + 1))
    assert (counted.operation, counted.counted) == ("MAC", 18)


@pytest.mark.parametrize(
    ("name", "options", "steps"),
    [
        ("sew_resnetsmall_b4_m2_d4_direct", {"timesteps": 4, "neuron_options": WAITING}, 17 * 4),
        ("sew_resnetfull_b4_m2_d4_direct", {"timesteps": 12, "neuron_options": WAITING}, 17 * 12),
        ("sew_resnetsmall_b4_m2_d4_direct", {"timesteps": 4, "neuron_options": STREAMING}, 17 + 3),
        ("ann_resnetsmall_b4_m2_d4", {}, 17),
        ("ann_resnet18", {}, 17),
        ("has8_resnetsmall_b4_m2_d1_ste_bpd", {}, 5 + 3 * 7),
        ("timm_test_resnet", {}, None),
    ],
)
def test_sequential_steps(name: str, options: dict[str, Any], steps: int | None) -> None:
    assert count_steps(zoo.create_model(name, num_classes=2, **options)) == steps


@pytest.mark.slow
def test_the_control_has_its_own_weight_if_images_are_counted() -> None:
    images: Tensor = torch.rand(1, 3, 16, 16)
    trained = profile("has8_resnet_b8_m2_d4_ste_bpd.cifar10", images=images)
    assert trained.control is not None
    assert trained.control.weights == "checkpoint cifar10"
    by_network = profile(zoo.create_model("has8_resnet_b8_m2_d4_ste_bpd.cifar10"), images=images)
    assert by_network.control == trained.control
