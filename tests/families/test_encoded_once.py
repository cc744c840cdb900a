"""Spiking blocks in a row: they equal their quantised control, take over its weights, and cost what hooks count."""

from __future__ import annotations

import pytest
import torch

import zoo
from zoo.contracts.classifier import ImageClassifier
from zoo.families.thresholds import QuantisedReLU, calibrate, quantise
from zoo.profiling import Part
from zoo.profiling.recorder import Recorder

WAITING = {"v_reset": None, "v_init": 0.5, "waits": True, "gradient": "rate"}
BACKBONES = [
    *("resnetsmall_b4_m2_d2", "resnetfull_b4_m1_d2", "resnet_b4_m1_d1", "vgg_b2_m2_d2"),
    pytest.param("resnet50_b2_m1_d4", marks=pytest.mark.slow),
]


def spiking_keys(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of an analog network under the keys of a spiking one of the same blocks."""
    keys = {key: key.replace(".analog.", ".spiking.") if key.startswith("stages") else key for key in state}
    return {keys[key]: value for key, value in state.items()}


def pair(size: str, levels: int) -> tuple[ImageClassifier, ImageClassifier]:
    """A calibrated quantised network with statistics of its own, and the spiking one with its weights."""
    torch.manual_seed(1)
    analog = zoo.create_model(f"ann_{size}", pretrained=False, num_classes=5, levels=levels)
    images = torch.rand(4, 3, 32, 32)
    analog(images)
    calibrate(analog, images)
    spiking = zoo.create_model(
        f"sew_{size}_direct", pretrained=False, num_classes=5, timesteps=levels, neuron_options=WAITING
    )
    spiking.load_state_dict(spiking_keys(analog.state_dict()))
    return analog.eval(), spiking.eval()


@pytest.mark.parametrize("size", BACKBONES)
@pytest.mark.parametrize("levels", [1, 4])
def test_spiking_network_equals_its_quantised_control(size: str, levels: int) -> None:
    analog, spiking = pair(size, levels)
    x = torch.rand(3, 3, 32, 32)
    torch.testing.assert_close(spiking(x), analog(x), atol=1e-5, rtol=1e-4)


def test_gradients_are_the_quantised_controls() -> None:
    analog, spiking = pair("resnetsmall_b4_m2_d2", 4)
    x = torch.rand(3, 3, 32, 32)
    for network in (analog, spiking):
        network(x).square().sum().backward()
    expected = {name.replace(".analog.", ".spiking."): p.grad for name, p in analog.named_parameters()}
    for name, parameter in spiking.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("size", BACKBONES)
@pytest.mark.parametrize("fused", [False, True])
def test_waiting_neurons_become_activations_that_give_the_same_answers(size: str, fused: bool) -> None:
    _, spiking = pair(size, 4)
    spiking = spiking.double()
    x = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected, keys = spiking(x), list(spiking.state_dict())
        answering = spiking.fuse() if fused else spiking.drop_timesteps()
        torch.testing.assert_close(answering(x), expected, atol=1e-9, rtol=1e-9)
    assert answering is spiking
    assert (answering.timesteps, answering.spiking_module_names) == (1, ())
    assert fused or list(answering.state_dict()) == keys


@pytest.mark.parametrize("neuron", [{}, {"v_reset": None}, WAITING | {"v_init": 0.0}, WAITING | {"v_threshold": 2.0}])
def test_other_neurons_keep_their_timesteps(neuron: dict[str, object]) -> None:
    name = "sew_resnetsmall_b4_m2_d2_direct"
    network = zoo.create_model(name, pretrained=False, num_classes=5, neuron_options=neuron).eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(x)
        assert torch.equal(network.drop_timesteps()(x), expected)
    assert network.timesteps == 4


def test_waiting_neurons_stay_before_a_layer_that_passes_no_mean_on() -> None:
    _, network = pair("resnetsmall_b4_m2_d2", 4)
    network.set_submodule("stages.1.0", torch.nn.Sequential(network.get_submodule("stages.1.0"), torch.nn.Tanh()))
    assert network.eval().drop_timesteps().timesteps == 4
    assert network.spiking_module_names


def test_torchvision_stem_is_computed_once_with_direct_coding() -> None:
    network = zoo.create_model("sew_resnet18_direct", pretrained=False, num_classes=3, timesteps=3).eval()
    inputs = []
    network.get_submodule("stem.conv1").register_forward_pre_hook(lambda module, args: inputs.append(args[0].shape))
    x = torch.rand(2, 3, 32, 32)
    expected = network.get_submodule("stem")(x.expand(3, *x.shape))
    inputs.clear()
    torch.testing.assert_close(network.forward_stages(x, 0)[0], expected.mean(0))
    assert inputs == [(1, 2, 3, 32, 32)]


@pytest.mark.parametrize("name", ["sew_resnetsmall_b4_m1_d1_direct", "sew_vgg_b2_m1_d1_direct", "sew_resnet18_direct"])
def test_fusing_keeps_the_names_of_what_runs_over_time(name: str) -> None:
    network = zoo.create_model(name, pretrained=False, num_classes=3, timesteps=3).eval()
    before = network.spiking_module_names
    assert network.fuse().spiking_module_names == before


@pytest.mark.parametrize("levels", [1, 3, 8])
def test_quantised_values_are_levels_nearest_to_the_clipped_current(levels: int) -> None:
    x, scale = torch.linspace(-1, 3, 101), torch.tensor(1.5)
    y = quantise(x, scale, levels)
    torch.testing.assert_close(y * levels / scale, (y * levels / scale).round())
    assert float((y - x.clamp(0, 1.5)).abs().max()) <= 0.75 / levels + 1e-6


@pytest.mark.parametrize("shape", [(300, 16, 20, 20), (1, 3, 5, 5), (7, 11), (4,)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_levels_are_the_same_bit_for_bit_without_gradients(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, scale = (2 * torch.randn(shape)).to(dtype), torch.tensor(1.3, requires_grad=True)
    with torch.no_grad():
        without = quantise(x, scale, 12)
    assert torch.equal(quantise(x, scale, 12), without)
    assert not torch.equal(without, x)


def test_scale_has_the_gradient_of_a_learned_step() -> None:
    scale = torch.tensor(2.0, requires_grad=True)
    quantise(torch.tensor([-1.0, 0.9, 5.0]), scale, 4).sum().backward()
    torch.testing.assert_close(scale.grad, torch.tensor(0.0 + (0.5 - 0.45) + 1.0))  # below, inside, above


def test_calibration_uses_the_levels_that_there_are() -> None:
    activation = QuantisedReLU(4)
    x = torch.rand(10_000).pow(3)
    before = (activation(x) - x).square().mean()
    activation.calibrate(x)
    assert (activation(x) - x).square().mean() < before / 3
    assert not calibrate(zoo.create_model("ann_resnet_b2_m1_d1", pretrained=False), x)


@pytest.mark.parametrize("name", ["sew_resnetsmall_b4_m1_d2_direct", "sew_resnet18_direct"])
def test_maps_are_averaged_over_time_only_where_they_are_asked_for(name: str) -> None:
    network = zoo.create_model(name, pretrained=False, num_classes=3, timesteps=3).eval()
    x = torch.rand(2, 3, 32, 32)
    recorder = Recorder(network)
    with recorder.watching():
        network(x)
    means = [price for price in recorder.counts(2).elementwise[Part.REST] if "mean" in price.operation]
    last = network.feature_info[-1]["num_chs"]
    side = network.forward_features(x).shape[-1]
    over_time_and_pixels = 3 * 2 * last * side**2 + 2 * last * side**2
    assert [recorder.counts(2).elementwise[Part.REST][price].acs for price in means] == [over_time_and_pixels]
