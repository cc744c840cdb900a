"""Fused networks compute what they computed, as far as rounding allows, and remain networks of the zoo."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, prune

import zoo
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.encoder import Encoder
from zoo.contracts.neuron import Neuron
from zoo.cpu.library import library
from zoo.errors import InputError, WeightError
from zoo.families.fusion import adjacent_layers, fuse_network
from zoo.neurons.nodes import IFNeuron
from zoo.profiling import profile
from zoo.weights.load import load

BUNDLED = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
HYBRID, PLAIN, RESIDUAL = "has8_resnet_b4_m2_d2_ste_bpd", "ann_vgg_b2_m2_d2", "ann_resnet18"
SPIKING = "sew_resnetsmall_b4_m1_d1_direct"
NAMES = (
    *(HYBRID, PLAIN, RESIDUAL, SPIKING),
    "has8_vgg_b2_m2_d2_fourier_rate_lif",
    "sew_resnet18_rate",
    pytest.param("has8_resnet50_b1_m2_d4_tanh_bpd_plif", marks=pytest.mark.slow),
    pytest.param("ann_resnet50", marks=pytest.mark.slow),
    pytest.param("sew_resnet50_phase_lif", marks=pytest.mark.slow),
)


def trained(name: str) -> ImageClassifier:
    """A small network in eval mode whose batch norms have statistics and parameters of their own."""
    options: dict[str, Any] = {"timesteps": 2} if name.startswith("sew") else {}
    model = zoo.create_model(name, num_classes=5, **options).eval()
    for norm in norms(model):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.normal_(0, 0.3)
        norm.running_var.uniform_(0.3, 3)
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias, 0.3, 0.3)
    return model


def norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def pairs_seen(model: nn.Module, x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Input of every convolution, and what the batch norm behind it makes of it, by name of the convolution."""
    names = {module: name for name, module in model.named_modules()}
    inputs: dict[int, tuple[str, Tensor]] = {}
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    kept: list[Tensor] = []  # or an id is given again

    def note(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        kept.append(output)
        if isinstance(module, nn.Conv2d):
            inputs[id(output)] = names[module], args[0].clone()
        elif id(args[0]) in inputs:
            conv, before = inputs[id(args[0])]
            seen[conv] = before, output.clone()

    hooks = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.BatchNorm2d))]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_every_batch_norm_is_folded_and_changes_no_value(name: str) -> None:
    model, x = trained(name), torch.rand(2, 3, 32, 32)
    seen, removed = pairs_seen(model, x), [norm.num_features for norm in norms(model)]
    parameters = sum(p.numel() for p in model.parameters())
    assert len(seen) == len(removed) > 0
    assert model.fuse() is model
    assert norms(model) == []
    assert sum(p.numel() for p in model.parameters()) == parameters - sum(removed)
    assert all(not module.training for module in model.modules())
    assert all(f"{layer}.bias" in model.state_dict() for layer in model.first_conv_names)
    with torch.no_grad():
        for conv, (before, after) in seen.items():
            found = model.get_submodule(conv)(before)
            torch.testing.assert_close(found, after, rtol=0, atol=1e-5 * float(after.abs().max()))


@pytest.mark.parametrize("name", [HYBRID, RESIDUAL, SPIKING])
def test_fusing_again_copying_and_pickling_change_nothing(name: str) -> None:
    model, x = trained(name).fuse(), torch.rand(2, 3, 32, 32)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        logits = model(x)
        for again in (model.fuse(), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
            assert torch.equal(again(x), logits)
            assert all(torch.equal(value, state[key]) for key, value in again.state_dict().items())
        final, maps = model.forward_intermediates(x)
        assert torch.equal(final, maps[-1])
        model.reset_classifier(3)
        assert model(x).shape == (2, 3)


@pytest.mark.skipif(library() is None, reason="without kernels torch chooses how to convolve")
@pytest.mark.parametrize("name", [HYBRID, PLAIN, SPIKING, "has8_resnet50_b1_m2_d4_ste_bpd", "ann_resnet_b64_m2_d4"])
def test_a_map_is_rounded_alike_in_a_batch_of_any_size(name: str) -> None:
    model, x = trained(name).fuse(), torch.rand(65, 3, 32, 32)
    with torch.no_grad():
        expected = model.forward_features(x)
        for images in (1, 2, 64):
            assert torch.equal(model.forward_features(x[:images]), expected[:images])


@pytest.mark.parametrize(
    "change",
    [
        lambda conv: conv.weight.mul_(2),
        lambda conv: conv.load_state_dict({"weight": conv.weight + 1, "bias": conv.bias + 1}),
        lambda conv: setattr(conv, "weight", nn.Parameter(2 * conv.weight)),
        lambda conv: setattr(conv.weight, "data", 2 * conv.weight.data),
        lambda conv: prune.custom_from_mask(conv, "weight", conv.weight > 0),
    ],
)
def test_a_convolution_follows_its_weight(change: Callable[[Any], None]) -> None:
    conv: Any = trained(PLAIN).fuse().get_submodule("stages.0.0.analog.conv")
    x = torch.rand(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)  # else nothing is packed
    with torch.no_grad():
        before = conv(x)
        change(conv)
        after = conv(x)
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, functional.conv2d(x, conv.weight, conv.bias, padding=1))


def test_operations_are_still_counted() -> None:
    model, x = trained(HYBRID), torch.rand(1, 3, 16, 16)
    before = profile(model, images=x)
    after = profile(model.fuse(), images=x)
    assert before.activity is not None
    assert after.activity is not None
    assert [(s.name, s.dense) for s in after.activity.synapses] == [(s.name, s.dense) for s in before.activity.synapses]
    assert not after.activity.uncounted
    assert after.macs < before.macs  # fvcore counts batch norms, and a folded one is gone


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("answers_between", [False, True])
def test_a_fused_network_follows_torchs_fused_optimisers(kind: Any, answers_between: bool) -> None:
    model, x = trained(HYBRID).fuse(), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        before = model(x)
    optimiser = kind(model.parameters(), lr=0.1, fused=True)
    loss = model(x).square().sum()
    if answers_between:
        with torch.no_grad():
            assert torch.equal(model(x), before)
    loss.backward()
    optimiser.step()
    optimiser.zero_grad()
    with torch.no_grad():
        after = model(x)
        assert not torch.allclose(after, before)
        assert torch.equal(after, copy.deepcopy(model)(x))


def test_copies_of_a_fused_network_answer_in_inference_mode() -> None:
    model, x = trained(PLAIN).fuse(), torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
            assert torch.equal(again(x), model(x))
            again.get_submodule("stages.0.0.analog.conv").weight.mul_(2)
            assert not torch.allclose(again(x), model(x))


@pytest.mark.parametrize("name", [HYBRID, RESIDUAL])
def test_a_fused_network_refuses_training_mode(name: str) -> None:
    model = trained(name).fuse()
    with pytest.raises(InputError, match="fuse"):
        model.train()
    assert not any(module.training for module in copy.deepcopy(model).eval().modules())


def test_hooks_stay_and_gradients_reach_every_parameter() -> None:
    model = trained(HYBRID)
    conv = model.get_submodule("stages.0.0.analog.conv")
    called: list[nn.Module] = []
    conv.register_forward_hook(lambda module, *_: called.append(module))
    model.fuse()(torch.rand(2, 3, 32, 32)).sum().backward()
    assert called == [conv]
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_types_keep_theirs(dtype: torch.dtype) -> None:
    model = trained(PLAIN).to(dtype)
    x = torch.rand(2, 3, 32, 32, dtype=dtype)
    with torch.no_grad():
        before = model(x)
        after = model.fuse()(x)
    assert {value.dtype for value in model.state_dict().values()} == {dtype}
    tolerance = 0.03 if dtype is torch.bfloat16 else 1e-12
    torch.testing.assert_close(after, before, rtol=0, atol=tolerance * float(before.abs().max()))


@pytest.mark.parametrize("name", [HYBRID, PLAIN, "sew_resnet18_rate"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_rounded_once_are_those_that_autocast_rounds(name: str, dtype: torch.dtype) -> None:
    model, x = trained(name).fuse(), torch.rand(2, 3, 32, 32)
    rounded = copy.deepcopy(model)
    assert rounded.fuse(dtype) is rounded
    for module in rounded.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            assert {each.dtype for each in module.parameters()} == {dtype}
        else:  # time constants too
            assert all(each.dtype is torch.float32 for each in module.parameters(recurse=False))
    with torch.no_grad(), torch.autocast("cpu", dtype):
        torch.testing.assert_close(rounded(x), model(x), rtol=0, atol=0, equal_nan=True)  # float16 overflows


def test_weights_lie_in_the_order_that_their_maps_do() -> None:
    model = zoo.create_model("ann_vgg_b16_m2_d4", num_classes=2).eval().fuse(torch.bfloat16)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert [conv.in_channels for conv in convs] == [3, 48, 96, 192, 384]
    assert [conv.weight.is_contiguous() for conv in convs] == [False, False, False, False, True]
    assert all(conv.weight.is_contiguous(memory_format=torch.channels_last) for conv in convs[:-1])


@pytest.mark.parametrize(
    ("spoil", "dtype", "named"),
    [
        (lambda model: None, torch.float64, "torch.float64"),
        (lambda model: model.train(), None, "the network"),
        (lambda model: model.get_submodule("stages.1.0.bn1").train(), None, "stages.1.0.bn1"),
        (lambda model: setattr(model.get_submodule("stages.2.1.bn2"), "running_mean", None), None, "stages.2.1.bn2"),
    ],
)
def test_what_cannot_be_fused_is_named_and_nothing_is_changed(spoil: Any, dtype: Any, named: str) -> None:
    model = trained(RESIDUAL)
    spoil(model)
    keys = list(model.state_dict())
    with pytest.raises(InputError, match=re.escape(named)):
        model.fuse(dtype)
    assert list(model.state_dict()) == keys


def test_unfused_weights_are_refused_and_fused_ones_load() -> None:
    model = trained(HYBRID)
    fused = copy.deepcopy(model).fuse()
    with pytest.raises(RuntimeError, match=r"stages\.0\.0\.analog\.bn"):
        fused.load_state_dict(model.state_dict())
    with pytest.raises(WeightError, match=r"unexpected: .*\.bn\."):
        load(fused, model.state_dict(), "unfused", 5, 3)
    another = trained(HYBRID).fuse()
    another.load_state_dict(fused.state_dict())
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(another(x), fused(x))


@pytest.mark.skipif(library() is None, reason="no kernels were built, or ZOO_KERNELS=0")
@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_spikes_take_the_place_of_currents_unless_gradients_need_them(dtype: torch.dtype | None) -> None:
    model, x = trained(HYBRID), torch.rand(2, 3, 32, 32)
    neurons = [module for module in model.modules() if isinstance(module, Neuron)]
    overwritten: list[bool] = []

    def note(neuron: nn.Module, given: tuple[Tensor], spikes: Tensor) -> None:
        overwritten.append(given[0].data_ptr() == spikes.data_ptr())

    for neuron in neurons:
        neuron.register_forward_hook(note)
    with torch.no_grad():
        model(x)
        logits = model.fuse(dtype)(x)
    model(x)
    count = len(neurons)
    assert overwritten == [False] * count + [True] * count + [False] * count
    for neuron in neurons:
        neuron.in_place = False
    with torch.no_grad():
        assert torch.equal(model(x), logits)


def test_currents_that_something_else_reads_stay() -> None:
    shared = IFNeuron()
    for network in (
        nn.Sequential(IFNeuron()),
        nn.Sequential(layer.Conv2d(4, 4, 1, step_mode="m"), IFNeuron()),
        nn.Sequential(layer.BatchNorm2d(4, step_mode="m"), IFNeuron()),
        nn.Sequential(
            *(layer.Conv2d(4, 4, 1, step_mode="m"), layer.BatchNorm2d(4, step_mode="m"), shared),
            nn.Sequential(nn.Identity(), shared),
        ),
    ):
        fuse_network(network.eval(), adjacent_layers(network))
        assert not any(module.in_place for module in network.modules() if isinstance(module, Neuron))


class _Doubling(nn.Conv2d):
    """A convolution whose weight is not what it convolves with."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class _Reversed(nn.Sequential):
    """Its layers in another order than their names."""

    def forward(self, x: Tensor) -> Tensor:
        for module in reversed(self):
            x = module(x)
        return x


def test_what_only_looks_like_a_pair_is_left() -> None:
    shared = nn.Conv2d(4, 4, 1)
    pruned = prune.random_unstructured(nn.Conv2d(4, 4, 1), "weight", 0.5)
    normalised = parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
    for network in (
        nn.Sequential(_Doubling(4, 4, 1), nn.BatchNorm2d(4)),
        nn.Sequential(shared, nn.BatchNorm2d(4), shared, nn.BatchNorm2d(4)),
        nn.Sequential(pruned, nn.BatchNorm2d(4)),
        nn.Sequential(normalised, nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.SyncBatchNorm(4)),
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)),
        _Reversed(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)),
    ):
        before = list(network.eval())
        fuse_network(network, adjacent_layers(network))
        assert list(network) == before


def test_convolutions_of_every_kind_fold_and_neurons_stay() -> None:
    conv = nn.Conv2d(4, 6, 3, stride=2, groups=2, padding=1)
    norm = nn.BatchNorm2d(6, affine=False)
    network = nn.Sequential(conv, norm).eval()
    norm.running_mean, norm.running_var = torch.randn(6), torch.rand(6) + 0.1
    x = torch.randn(3, 4, 9, 9)
    with torch.no_grad():
        before = network(x)
        fuse_network(network, adjacent_layers(network))
        torch.testing.assert_close(network(x), before, rtol=0, atol=1e-5 * float(before.abs().max()))
    model = trained(HYBRID)
    kept = [module for module in model.modules() if isinstance(module, (Encoder, Neuron))]
    assert [module for module in model.fuse().modules() if isinstance(module, (Encoder, Neuron))] == kept
