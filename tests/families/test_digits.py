"""Neurons that write digits: the neuron alone, networks that encode once, and hybrids that compute on numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based.neuron import FewSpikeNode, FewSpikeTable
from torch import nn

import zoo
from tests.families.test_encoded_once import BACKBONES, spiking_keys
from tests.families.test_unit_spikes import inputs_of_layers
from zoo.errors import CompositionError, InputError
from zoo.families.numbers import in_spikes
from zoo.families.thresholds import calibrate
from zoo.neurons.radix import RadixNeuron

HYBRIDS = ["has8_resnet_b2_m2_d2", "has8_vgg_b1_m1_d1", "snn_resnetsmall_b2_m1_d1", "has8_fast_b4_m1_d1"]


def hybrid(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return zoo.create_model(f"{name}_ste_bpd_radix", pretrained=False, num_classes=3, **options)


# --- The neuron ---


@given(
    values=st.lists(st.floats(-3, 3, width=16), min_size=1, max_size=8), short=st.integers(0, 5), least=st.booleans()
)
def test_a_neuron_writes_the_nearest_level_in_digits(values: list[float], short: int, least: bool) -> None:
    most = 2 ** len(values) - 1
    levels = max(1, most - short)
    neuron = RadixNeuron(levels=levels)
    neuron.least_first = least
    places = neuron.places(len(values))
    assert sorted(places, reverse=not least) == list(places)
    x = torch.tensor(values, dtype=torch.float64)[:, None]
    digits = neuron(x)
    assert set(digits.unique().tolist()) <= {0.0, 1.0}
    number = sum(place * float(digit) for place, digit in zip(places, digits, strict=True))
    total = sum(place * value for place, value in zip(places, values, strict=True))
    assert number == min(max(int((total + 0.5) // 1), 0), levels)


def test_a_neuron_equals_spikingjellys_few_spike_node() -> None:
    digits = 5
    places = torch.tensor([2.0**bit for bit in reversed(range(digits))])
    few = FewSpikeNode(FewSpikeTable(places, places, places), step_mode="m")
    x = torch.randn(digits, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2
    gate = torch.cat(((places[:, None] * x)[:-1], places[-1] * x[-1:] + 0.5))  # the half that rounds to the nearest
    expected = few(gate) / places[:, None]
    assert 0 < expected.mean() < 1
    assert torch.equal(RadixNeuron()(x), expected)


def test_the_gradient_is_that_of_the_clipped_number() -> None:
    x = torch.tensor([[-1.0, 0.3, 4.0], [0.5, 0.9, 1.0]], requires_grad=True)
    weight = torch.tensor([[1.0, 2.0, 3.0], [5.0, 7.0, 9.0]])
    (RadixNeuron()(x) * weight).sum().backward()
    inside = torch.tensor([0.0, 1.0, 0.0])  # of 3 levels: -1.5, 1.5, 9
    share = inside * weight.sum(0) / 3
    torch.testing.assert_close(x.grad, torch.stack((2 * share, share)))


@pytest.mark.parametrize("levels", [0, 16])
def test_levels_that_the_digits_do_not_hold_are_refused(levels: int) -> None:
    with pytest.raises(CompositionError):
        zoo.create_model("sew_resnetsmall_b2_m1_d1_direct_radix", timesteps=4, neuron_options={"levels": levels})


@pytest.mark.parametrize("name", ["sew_resnetsmall_b2_m1_d1_ttfs_radix", "has8_resnet_b2_m1_d1_ste_rate_radix"])
def test_what_does_not_read_digits_is_refused(name: str) -> None:
    with pytest.raises(CompositionError, match="digits"):
        zoo.create_model(name, num_classes=2)


# --- Networks that encode once ---


@pytest.mark.parametrize("size", [*BACKBONES, "fast_b4_m1_d1"])
@pytest.mark.parametrize(("levels", "timesteps"), [(1, 1), (7, 3), (12, 4)])
def test_digits_give_the_answers_of_the_quantised_twin(size: str, levels: int, timesteps: int) -> None:
    torch.manual_seed(1)
    analog = zoo.create_model(f"ann_{size}", pretrained=False, num_classes=5, levels=levels)
    x = torch.rand(4, 3, 32, 32)
    analog(x)
    calibrate(analog, x)
    options: dict[str, Any] = {"timesteps": timesteps, "neuron_options": {"levels": levels}}
    digits = zoo.create_model(f"sew_{size}_direct_radix", pretrained=False, num_classes=5, **options)
    digits.load_state_dict(spiking_keys(analog.state_dict()))
    analog, digits, x = analog.double().eval(), digits.double().eval(), x.double()
    with torch.no_grad():
        expected = analog(x)
        torch.testing.assert_close(digits(x), expected, atol=1e-9, rtol=1e-9)
        answering = digits.drop_timesteps()
        torch.testing.assert_close(answering(x), expected, atol=1e-9, rtol=1e-9)
    assert (answering.timesteps, answering.spiking_module_names) == (1, ())


# --- Hybrids ---


@pytest.mark.parametrize("name", HYBRIDS)
def test_numbers_and_digits_give_the_same_answers(name: str) -> None:
    network = hybrid(name)
    x = torch.rand(4, 3, 32, 32)
    network(x)
    network = network.double().eval()
    spiking = in_spikes(network)
    assert list(spiking.state_dict()) != []
    assert spiking.state_dict().keys() == network.state_dict().keys()
    with torch.no_grad():
        torch.testing.assert_close(spiking(x.double()), network(x.double()), atol=1e-9, rtol=1e-9)


def test_a_layer_of_a_hybrid_is_learned_from_its_ceiling() -> None:
    network = hybrid("has8_resnet_b2_m2_d1")
    scales = {name: value for name, value in network.named_parameters() if name.endswith(".scale")}
    assert {scale.item() for scale in scales.values()} == {8.0}
    low = dict(hybrid("has8_resnet_b2_m2_d1", ceiling=2.0).named_parameters())
    assert {low[name].item() for name in scales} == {2.0}
    network(torch.rand(4, 3, 32, 32)).square().sum().backward()
    assert all(scale.grad is not None and scale.grad.isfinite() for scale in scales.values())


def test_fewer_levels_leave_the_highest_digits_out() -> None:
    network = hybrid("has8_resnet_b2_m2_d1", neuron_options={"levels": 15})
    seen: list[torch.Tensor] = []
    spiking = in_spikes(network.eval())
    for module in spiking.modules():
        if isinstance(module, RadixNeuron):
            module.register_forward_hook(lambda module, args, y: seen.append(y))
    with torch.no_grad():
        spiking(torch.rand(2, 3, 32, 32))
    assert sum(float(planes[:4].sum()) for planes in seen) > 0 == sum(float(planes[4:].sum()) for planes in seen)


def test_layers_of_a_hybrid_in_digits_take_in_zeros_and_worths() -> None:
    spiking = in_spikes(hybrid("has8_resnet_b2_m2_d1").eval())
    caught = inputs_of_layers(spiking, torch.rand(2, 3, 32, 32))
    assert all(len(x.unique()) <= 2 for name, x in caught.items() if ".spiking." in name)


def test_spikes_of_a_hybrid_are_worth_a_learned_ceiling() -> None:
    name = "has8_resnet_b2_m2_d1_ste_bpd"
    plain = zoo.create_model(name, num_classes=2).eval()
    worth = zoo.create_model(name, num_classes=2, ceiling=1.0).eval()
    state = {key.replace(".neuron.", "."): value for key, value in worth.state_dict().items()}
    plain.load_state_dict({key: value for key, value in state.items() if not key.endswith(".scale")})
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(worth(x), plain(x))
    neurons = [module for module in plain.modules() if isinstance(module, nn.Module) and hasattr(module, "v_threshold")]
    assert len(neurons) == sum(key.endswith(".scale") for key in state)


# --- What reads spikes as if they were worth the same ---


def test_sums_of_spikes_that_are_digits_are_refused() -> None:
    with pytest.raises(CompositionError, match="radix"):
        zoo.create_model("sew_resnet18_direct_radix", pretrained=False)


def test_digits_have_no_answers_before_the_last() -> None:
    network = zoo.create_model("sew_resnetsmall_b2_m1_d1_direct_radix", pretrained=False)
    with pytest.raises(InputError):
        network.answers_over_time(torch.rand(1, 3, 16, 16))
    with pytest.raises(InputError), network.streaming():
        pass
