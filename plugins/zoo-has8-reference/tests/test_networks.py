"""Whole networks: the published logits, loss and gradients, from converted checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import filled_images
from spikingjelly.activation_based import layer, neuron, surrogate
from torch import Tensor, nn
from torch.nn import functional
from zoo_has8_reference.converter import Has8Converter
from zoo_has8_reference.neurons import LIFReferenceNeuron
from zoo_has8_reference.published_keys import resnet_keys

import zoo
from zoo.contracts import ImageClassifier
from zoo.cpu.conv import Conv2d, SpikingConv2d

SAME_ROUNDING = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512",
    reason="the vectors were made with AVX-512; other kernels round the last bit differently, which flips planes",
)


def _converted(checkpoint: dict[str, Tensor]) -> ImageClassifier:
    converted = Has8Converter().convert(checkpoint)
    model = zoo.create_model(converted.spec_name, num_classes=converted.num_classes, in_chans=converted.in_chans)
    model.load_state_dict(dict(converted.state), strict=True)
    return model


@SAME_ROUNDING
def test_resnet_logits_are_the_published_ones(
    resnet: dict[str, np.ndarray[Any, Any]], resnet_checkpoint: dict[str, Tensor]
) -> None:
    model = _converted(resnet_checkpoint).eval()
    assert str(model.spec) == "has8_resnetref_b4_m2_d4_fourierref_bpdref_lifref"
    with torch.no_grad():
        logits = model(torch.from_numpy(resnet["input"]))
        again = model(torch.from_numpy(resnet["input"]))
    torch.testing.assert_close(logits, torch.from_numpy(resnet["eval_logits"]), rtol=0, atol=1e-5)
    assert torch.equal(again, logits)


@SAME_ROUNDING
def test_resnet_training_step_is_the_published_one(
    resnet: dict[str, np.ndarray[Any, Any]], resnet_checkpoint: dict[str, Tensor]
) -> None:
    model = _converted(resnet_checkpoint).train()
    loss = functional.cross_entropy(model(torch.from_numpy(resnet["input"])), torch.from_numpy(resnet["target"]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(resnet["train_loss"]), abs=1e-5)
    norms = {name: float(p.grad.norm()) for name, p in model.named_parameters() if p.grad is not None}
    keys = resnet_keys(4, shortcut_first=True)
    expected = dict(zip((keys[name] for name in resnet["grad_names"]), resnet["grad_norms"], strict=True))
    assert norms == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("size", [32, 64])
def test_vgg_logits_are_the_published_ones(vgg: dict[str, Any], vgg_checkpoint: dict[str, Tensor], size: int) -> None:
    model = _converted(vgg_checkpoint).eval()
    assert str(model.spec) == "has8_vggref_b2_m2_d4_fourierref_bpdref_lifref"
    assert sum(p.numel() for p in model.parameters()) == vgg["params"]
    with torch.no_grad():
        logits = model(filled_images(size))
    torch.testing.assert_close(logits, torch.tensor(vgg[f"eval_logits_{size}"]), rtol=0, atol=1e-5)


# --- Parts. ---


def test_the_neuron_is_lifnode_to_the_last_bit_of_its_gradient() -> None:
    theirs = neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan(2.0), step_mode="m")
    ours = LIFReferenceNeuron()
    one = (3 * torch.randn(8, 2, 5, 6, 6)).requires_grad_()
    other = one.detach().clone().requires_grad_()
    grad = torch.randn_like(one)
    spikes = ours(one)
    assert torch.equal(spikes, theirs(other))
    assert torch.equal(ours(one.detach()), spikes)
    spikes.backward(grad)
    theirs.reset()
    theirs(other).backward(grad)
    assert one.grad is not None
    assert other.grad is not None
    assert torch.equal(one.grad, other.grad)


def test_the_zoos_lif_gives_the_same_logits(
    resnet: dict[str, np.ndarray[Any, Any]], resnet_checkpoint: dict[str, Tensor]
) -> None:
    model = _converted(resnet_checkpoint).eval()
    other = zoo.create_model("has8_resnetref_b4_m2_d4_fourierref_bpdref_lif", num_classes=10).eval()
    other.load_state_dict(model.state_dict())
    images = torch.from_numpy(resnet["input"])
    with torch.no_grad():
        assert torch.equal(model(images), other(images))


@pytest.mark.parametrize("backbone", ["resnetref", "vggref"])
def test_convolutions_are_torchs_own(backbone: str) -> None:
    model = zoo.create_model(f"has8_{backbone}_b2_m2_d2_fourierref_bpdref_lifref", num_classes=3)
    convs = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert convs
    for conv in convs:  # the zoo's own go around faults of torch's kernels, and round otherwise
        assert not isinstance(conv, Conv2d | SpikingConv2d), conv
        own = layer.Conv2d if isinstance(conv, layer.Conv2d) else nn.Conv2d
        x = torch.rand(1, 2, conv.in_channels, 8, 8)[0 if own is nn.Conv2d else slice(None)]
        assert torch.equal(conv(x), own.forward(conv, x))


def test_vgg_momentum_is_the_published_one() -> None:
    model = zoo.create_model("has8_vggref_b2_m2_d2_fourierref_bpdref_lifref", num_classes=3)
    momenta = {name: m.momentum for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert len(momenta) == 6
    assert all(m == (0.1**0.5 if ".spiking." in name else 0.1) for name, m in momenta.items())


@pytest.mark.parametrize(("in_chans", "widths"), [(1, [2, 4, 8]), (3, [6, 12, 24]), (4, [8, 16, 32])])
def test_vgg_widths_follow_the_image_channels(in_chans: int, widths: list[int]) -> None:
    name = "has8_vggref_b2_m2_d2_fourierref_bpdref_lifref"
    model = zoo.create_model(name, num_classes=3, in_chans=in_chans).eval()
    assert [info["num_chs"] for info in model.feature_info] == widths
    with torch.no_grad():
        _, maps = model.forward_intermediates(torch.rand(2, in_chans, 16, 8))
    assert [tuple(m.shape) for m in maps] == [(2, w, 8 // 2**i, 4 // 2**i) for i, w in enumerate(widths)]
