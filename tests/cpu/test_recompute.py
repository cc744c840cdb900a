"""Planes that are made anew for the backward pass: exactly what torch would have kept, in no memory."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from zoo.cpu import recompute
from zoo.cpu.recompute import remaking

import zoo
from tests.allocations import kept_memory
from zoo.backbones.layers import spiking_conv
from zoo.decoders.averages import RateDecoder
from zoo.encoders.bitplanes import FourierEncoder, StraightThroughEncoder
from zoo.encoders.temporal import RateEncoder
from zoo.families.paired import PairedBlock

NAMES = (
    "has8_resnet_b4_m2_d3_ste_bpd",
    "has8_resnet_b4_m2_d2_fourier_rate_plif",
    "has8_vgg_b2_m2_d2_tanh_bpd_if",
    "snn_resnet_b4_m2_d2_ste_bpd",
)


@pytest.fixture(autouse=True)
def _small_ones_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompute, "_WORTH", 1)


def gradients(model: nn.Module, x: Tensor, remade: bool, autocast: bool) -> list[Tensor]:
    """Of all parameters and of x, with planes made anew or kept."""
    for block in (each for each in model.modules() if isinstance(each, PairedBlock)):
        block.remakes_planes = remade
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = functional.cross_entropy(model(x).float(), torch.tensor([0, 1, 2, 0]))
    return list(torch.autograd.grad(loss, [x, *model.parameters()]))


@pytest.mark.parametrize(
    ("name", "autocast"),
    [
        *((name, False) for name in NAMES),
        (NAMES[0], True),
        *(pytest.param(name, True, marks=pytest.mark.slow) for name in NAMES[1:]),
    ],
)
def test_gradients_are_the_same_bit_for_bit(name: str, autocast: bool) -> None:
    model = zoo.create_model(name, num_classes=3).train()
    for x in (torch.rand(4, 3, 32, 32), torch.zeros(4, 3, 32, 32), torch.randn(4, 3, 32, 32) * 1e3):
        for own, torchs in zip(*(gradients(model, x, remade, autocast) for remade in (True, False)), strict=True):
            assert torch.equal(own, torchs)


def activation(needs_gradient: bool = True) -> Tensor:
    x = torch.rand(4, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    return x.requires_grad_(needs_gradient)


@pytest.mark.parametrize("needs_gradient", [True, False])
def test_planes_are_kept_where_nothing_else_keeps_what_they_encode(needs_gradient: bool) -> None:
    encoder, layers, x = FourierEncoder(), [spiking_conv(16, 4, 3) for _ in range(2)], activation(needs_gradient)
    outputs = 2 * 8 * 4 * 4 * 8 * 8 * 4

    def both() -> list[Tensor]:
        planes = encoder(x)
        with remaking(planes, encoder.forward, x):
            return [layer(planes) for layer in layers]

    kept = 0 if needs_gradient else 8 * x.nbytes
    assert kept_memory(both, x, *(layer.weight for layer in layers)) == outputs + kept


def test_few_values_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, x = StraightThroughEncoder(), activation()
    planes = encoder(x)
    for worth, remade in ((planes.numel(), True), (planes.numel() + 1, False)):
        monkeypatch.setattr(recompute, "_WORTH", worth)
        assert isinstance(remaking(planes, encoder.forward, x), nullcontext) is not remade


class Counted(StraightThroughEncoder):  # type: ignore[misc] # final
    """Counts how often it encodes; where it says so, it does so in torch's own order without gradients."""

    def __init__(self, reorders: bool = False) -> None:
        super().__init__()
        self.calls, self.reorders = 0, reorders

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        planes = super().forward(x) * 1  # the zoo's own are a view, which torch lets nobody change
        return planes if torch.is_grad_enabled() or not self.reorders else planes.contiguous()


class Unrepeatable(RateEncoder):  # type: ignore[misc] # final
    """Says nothing of repeating itself, as an encoder that draws random numbers should."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        type(self).calls += 1
        return super().forward(x)


def test_an_encoder_that_does_not_repeat_itself_is_asked_once() -> None:
    for encoder, calls in ((Counted(), 2), (Unrepeatable(8), 1)):
        assert encoder.repeatable is (calls == 2)
        block = PairedBlock(None, spiking_conv(16, 4, 3), encoder, RateDecoder())
        block(activation()).sum().backward()
        assert encoder.calls == calls


def weight_gradients(view: Any, encoder: StraightThroughEncoder) -> list[Tensor]:
    """Of a convolution of some view of planes, with planes made anew and kept."""
    found: list[Any] = []
    for remade in (True, False):
        torch.manual_seed(0)
        layer, x = spiking_conv(16, 4, 3), activation()
        planes = encoder(x)
        with remaking(planes, encoder.forward, x) if remade else nullcontext():
            y = layer(view(planes))
        upstream = torch.randn_like(y)
        found += torch.autograd.grad(y, layer.weight, upstream)
    return found


VIEWS = {
    "whole": lambda planes: planes,
    "later timesteps": lambda planes: planes[3:],
    "every second image": lambda planes: planes[:, 1::2],
    "another order": lambda planes: planes.flip(0),
    "pixels transposed": lambda planes: planes.transpose(3, 4),
    "doubled in place": lambda planes: planes.mul_(2),
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("reorders", [False, True])
def test_any_view_of_planes_is_found_again(name: str, reorders: bool) -> None:
    own, exact = weight_gradients(VIEWS[name], Counted(reorders))
    assert torch.equal(own, exact)
    assert own.abs().max() > 0


def test_planes_in_the_memory_of_others_are_their_own() -> None:
    weight = torch.rand(8, 3, requires_grad=True)
    encoder, x = StraightThroughEncoder(), torch.rand(64, 8, requires_grad=True)
    planes = encoder(x)
    wanted = planes.sum((0, 1))
    with remaking(planes, encoder.forward, x):
        y = planes @ weight
        del planes
        others = torch.full((8, 64, 8), 3.0)  # may lie where the planes lay
        z = others @ weight
    assert torch.equal(torch.autograd.grad(y.sum(), weight)[0], wanted[:, None].expand(8, 3))
    assert torch.equal(torch.autograd.grad(z.sum(), weight)[0], torch.full((8, 3), 3.0 * 8 * 64))


def test_a_second_backward_pass_finds_the_same() -> None:
    model = zoo.create_model(NAMES[0], num_classes=3).train()
    loss = model(torch.rand(2, 3, 32, 32)).square().sum()
    first, second = (torch.autograd.grad(loss, list(model.parameters()), retain_graph=True) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def test_gradients_of_gradients_are_the_same() -> None:
    found: list[Any] = []
    for remade in (True, False):
        torch.manual_seed(0)
        encoder, layer, x = FourierEncoder(), spiking_conv(16, 4, 3), activation()
        planes = encoder(x)
        with remaking(planes, encoder.forward, x) if remade else nullcontext():
            y = layer(planes)
        (once,) = torch.autograd.grad(y.square().sum(), layer.weight, create_graph=True)
        found.append(torch.autograd.grad(once.square().sum(), [x, layer.weight]))
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


@pytest.mark.parametrize("changed", ["activation", "weighted"])
def test_a_tensor_changed_after_its_use_is_an_error_as_it_is_in_torch(changed: str) -> None:
    encoder, x, weight = StraightThroughEncoder(), torch.rand(64, 128, requires_grad=True), torch.rand(128, 4)
    values = x * 1
    planes = encoder(values)
    with remaking(planes, encoder.forward, values):
        y = planes @ weight.requires_grad_()
        z = y @ (other := torch.rand(4, 4, requires_grad=True))
    with torch.no_grad():
        (values if changed == "activation" else y).add_(1)
    with pytest.raises(RuntimeError, match="changed in place after it was used"):
        torch.autograd.grad(z.sum(), weight if changed == "activation" else other)
