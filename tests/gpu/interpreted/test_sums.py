"""The fused decoders against their definition, and whole networks by the kernels alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import zoo
from zoo.cpu.recompute import remaking
from zoo.decoders.averages import bit_plane_decode, rate_decode
from zoo.encoders.bitplanes import bit_planes
from zoo.gpu import selection

DECODERS = {"rate": rate_decode, "bpd": bit_plane_decode}


@pytest.fixture
def _on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "DEVICES", frozenset({"cpu"}))


def defined(name: str, spikes: Tensor) -> Tensor:
    weights = torch.tensor([2.0**t if name == "bpd" else 1.0 for t in range(len(spikes))])
    total = (spikes.float() * weights.reshape(-1, *(1,) * (spikes.dim() - 1))).sum(0)
    return total.to(spikes.dtype) / (255 if name == "bpd" else len(spikes))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.usefixtures("_on_cpu")
def test_decoding_and_its_gradient_are_the_defined_ones(name: str, dtype: torch.dtype) -> None:
    for timesteps in (8, 1) if name == "rate" else (8,):
        spikes = (torch.rand(timesteps, 2, 3, 5) < 0.4).to(dtype).transpose(2, 3)
        leaves = [spikes.clone().requires_grad_() for _ in range(2)]
        decoded, expected = DECODERS[name](leaves[0]), defined(name, leaves[1])
        assert "FusedSum" in decoded.grad_fn.name()
        if dtype == torch.bfloat16:  # Triton's interpreter cuts what a GPU rounds
            torch.testing.assert_close(decoded, expected, rtol=2.0**-7, atol=0)
        else:
            assert torch.equal(decoded, expected)
        grad = torch.randn(decoded.shape).to(dtype)
        (own,), (theirs,) = (torch.autograd.grad(y, x, grad) for y, x in zip((decoded, expected), leaves, strict=True))
        assert own.dtype == dtype
        torch.testing.assert_close(
            own, theirs, rtol={torch.bfloat16: 2.0**-6, torch.float16: 2.0**-9}.get(dtype, 1e-6), atol=1e-7
        )


@pytest.mark.usefixtures("_on_cpu")
def test_every_level_survives_encoding_and_decoding() -> None:
    levels = (torch.arange(256) / 255)[None]
    assert torch.equal(bit_plane_decode(bit_planes(levels)), levels)


@pytest.mark.usefixtures("_on_cpu")
def test_gradients_of_gradients_and_empty_spikes() -> None:
    spikes = torch.rand(8, 3, requires_grad=True)
    for decode in DECODERS.values():
        (once,) = torch.autograd.grad(decode(spikes).square().sum(), spikes, create_graph=True)
        (twice,) = torch.autograd.grad(once.sum(), spikes)
        assert twice.abs().max() > 0
        assert decode(spikes[:, :0]).shape == (0,)


def training_step(name: str, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(0)
    model = zoo.create_model(name, num_classes=3).train()
    logits = model(x)
    loss = functional.cross_entropy(logits.float(), torch.arange(len(x)) % 3)
    return logits.detach(), list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize(
    "name",
    [
        "has8_resnet_b1_m1_d1_ste_bpd",
        pytest.param("has8_vgg_b1_m1_d1_fourier_rate_plif", marks=pytest.mark.slow),
        pytest.param("snn_resnet_b2_m1_d2_tanh_bpd_lif", marks=pytest.mark.slow),
    ],
)
def test_a_network_trains_alike_by_kernels_and_in_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(2, 3, 12, 12)
    logits, gradients = training_step(name, x)
    monkeypatch.setattr(selection, "DEVICES", frozenset({"cpu"}))
    own_logits, own_gradients = training_step(name, x)
    assert torch.equal(own_logits, logits)
    for own, other in zip(own_gradients, gradients, strict=True):
        assert (own - other).abs().max() <= 1e-3 * max(float(other.abs().max()), 1e-4)


@pytest.mark.usefixtures("_on_cpu")
def test_planes_of_the_kernels_are_made_anew_for_the_backward_pass() -> None:
    from zoo.encoders.bitplanes import StraightThroughEncoder

    encoder, weight = StraightThroughEncoder(), torch.rand(64, 2, requires_grad=True)
    x = torch.rand(129, 64, requires_grad=True)
    planes = encoder(x)
    calls: list[int] = []

    def encode(values: Tensor) -> Tensor:
        calls.append(1)
        return encoder(values)

    with remaking(planes, encode, x):
        y = planes @ weight
    (gradient,) = torch.autograd.grad(y.sum(), weight)
    assert calls == [1]
    torch.testing.assert_close(gradient, planes.sum((0, 1))[:, None].expand(64, 2))
