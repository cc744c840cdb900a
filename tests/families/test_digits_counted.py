"""Networks of digits beside their rivals: what is counted, and in which form."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import zoo
from zoo.families.thresholds import calibrate
from zoo.inference.show import record
from zoo.profiling import Profile, profile
from zoo.profiling.rates import mean_rate, spike_rates, spiking_layers
from zoo.profiling.rivals import twin_of


def network_of(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    model = zoo.create_model(name, pretrained=False, num_classes=5, **options)
    x = torch.rand(8, 3, 32, 32)
    model(x)
    calibrate(model, x)
    return model.eval()


@pytest.fixture(scope="module")
def digits() -> Profile:
    name = "sew_resnetsmall_b4_m2_d2_direct_radix"
    model = network_of(name, timesteps=3, neuron_options={"levels": 5})
    return profile(model, images=torch.rand(4, 3, 32, 32))


def test_additions_of_digits_are_the_set_bits_of_the_twin(digits: Profile) -> None:
    assert digits.activity is not None
    assert digits.twin is not None
    assert digits.twin.activity is not None
    bits = {layer.name: layer.bits for layer in digits.twin.activity.synapses if layer.levels is not None}
    spikes = {layer.name: layer.used for layer in digits.activity.synapses if layer.operation == "AC"}
    assert len(bits) >= 8
    assert {name.replace(".analog.", ".spiking."): count for name, count in bits.items()} == spikes


def test_a_network_of_digits_waits_at_every_layer(digits: Profile) -> None:
    assert digits.levels == 5
    assert digits.twin is not None
    assert digits.steps == 3 * (digits.twin.steps or 0)


@pytest.mark.parametrize("options", [{}, {"neuron_options": {"levels": 5}}])
def test_the_twin_of_digits_has_their_levels(options: dict[str, Any]) -> None:
    model = network_of("sew_resnetsmall_b4_m2_d2_direct_radix", timesteps=3, **options)
    twin = twin_of(model)
    assert twin is not None
    assert twin.spec.options["family"]["levels"] == (5 if options else 7)


def test_a_hybrid_is_counted_in_digits() -> None:
    model = network_of("has8_resnet_b2_m2_d1_ste_bpd_radix")
    counted = profile(model, images=torch.rand(4, 3, 32, 32))
    assert counted.activity is not None
    layers = [layer for layer in counted.activity.synapses if layer.branch == "spiking"]
    assert layers
    assert {layer.operation for layer in layers} == {"AC"}
    assert counted.macs_spiking == 8 * (counted.macs_per_timestep - counted.macs_analog)
    assert not counted.activity.uncounted
    with torch.no_grad(), spike_rates(spiking_layers(model)) as calls:
        model(torch.rand(4, 3, 32, 32))
    rate = mean_rate(calls)
    assert rate is not None
    assert 0 < rate < 1


def test_a_picture_shows_digits_of_a_hybrid() -> None:
    recording = record(network_of("has8_resnet_b2_m2_d1_ste_bpd_radix"), torch.rand(3, 32, 32))
    assert len(recording.planes) == 8
    assert all(0 <= rate <= 1 for rate in recording.rates.values())
