"""Encoders, decoder and range step against the published code's own figures."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from zoo_has8_reference.coding import (
    BitPlaneReferenceDecoder,
    FourierReferenceEncoder,
    PublishedEncoder,
    SigmoidReferenceEncoder,
    TanhReferenceEncoder,
    batch_range,
    unrounded_planes,
)

import zoo
from zoo.contracts import Encoder
from zoo.errors import CompositionError

ENCODERS: dict[str, type[PublishedEncoder]] = {
    "sigmoid": SigmoidReferenceEncoder,
    "tanh": TanhReferenceEncoder,
    "fourier": FourierReferenceEncoder,
}


def _gradient(encoder: Encoder, x: Tensor, grad: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    encoder(x).backward(grad)
    assert x.grad is not None
    return x.grad


@pytest.mark.parametrize("name", ENCODERS)
def test_planes_and_gradients_are_the_published_ones(name: str, coding: dict[str, Tensor]) -> None:
    encoder = ENCODERS[name]()
    assert torch.equal(encoder(coding["x"]), coding[f"planes_{name}"])
    expected = coding[f"grad_{name}"]
    grad = _gradient(encoder, coding["x"], coding["grad_out"])
    assert (grad - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("name", ENCODERS)
def test_every_level_is_coded_and_decoded_as_published(name: str, coding: dict[str, Tensor]) -> None:
    planes = ENCODERS[name]()(coding["levels"])
    assert torch.equal(planes, coding["levels_planes"])
    assert torch.equal(BitPlaneReferenceDecoder()(planes), coding["bpd_of_levels"])
    assert torch.equal(planes.mean(0), coding["rate_of_levels"])


def test_decoding_reverses_the_bits(coding: dict[str, Tensor]) -> None:
    reversed_bits = [int(f"{k:08b}"[::-1], 2) / 255 for k in range(256)]
    decoded = BitPlaneReferenceDecoder()(coding["levels_planes"]).flatten()
    torch.testing.assert_close(decoded, torch.tensor(reversed_bits), rtol=0, atol=1e-7)


def test_plane_0_keeps_the_fraction_and_the_others_are_bits() -> None:
    intensity = 255 * torch.rand(4, 3, 5, 5, dtype=torch.float64)
    planes = unrounded_planes(intensity)
    weights = torch.tensor([2.0**k for k in range(8)], dtype=torch.float64).reshape(8, 1, 1, 1, 1)
    assert torch.equal((planes * weights).sum(0), intensity)
    assert bool(((planes[1:] == 0) | (planes[1:] == 1)).all())
    assert float(planes[0].max()) > 1


# --- The range step. ---


def test_range_step_is_the_published_one(coding: dict[str, Tensor]) -> None:
    assert torch.equal(batch_range(coding["rescale_in"]), coding["rescale_out"])


def test_inside_the_unit_interval_nothing_changes() -> None:
    x = torch.rand(3, 4, 5)
    x.view(-1)[:2] = torch.tensor([0.0, 1.0])
    x.requires_grad_()
    scaled = batch_range(x)
    assert torch.equal(scaled, x)
    grad = torch.randn_like(x)
    scaled.backward(grad)
    assert torch.equal(x.grad, grad)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 0.5), (0.2, 3.0), (-2.0, 2.0)])
def test_the_gradient_flows_through_both_bounds(low: float, high: float) -> None:
    x = torch.empty(2, 3, 4).uniform_(low, high)
    x[0, 0, 0], x[1, 2, 3] = low, high
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    grad = torch.randn_like(x)
    batch_range(one).backward(grad)
    lo, hi = other.min(), other.max()
    ((other - lo) / (hi - lo)).backward(grad)
    assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("value", [-3.0, 1.5])
def test_a_constant_outside_becomes_ones_without_gradient(value: float) -> None:
    x = torch.full((2, 3, 4), value, requires_grad=True)
    scaled = batch_range(x)
    scaled.sum().backward()
    assert torch.equal(scaled, torch.ones(2, 3, 4))
    assert torch.equal(x.grad, torch.zeros(2, 3, 4))


def test_a_constant_inside_stays() -> None:
    x = torch.full((2, 3), 0.25, requires_grad=True)
    scaled = batch_range(x)
    scaled.sum().backward()
    assert torch.equal(scaled, x)
    assert torch.equal(x.grad, torch.ones(2, 3))


def test_one_value_over_1_moves_every_sample() -> None:
    """On purpose against the contract: planes depend on the batch, with a cliff at 1."""
    x = 0.25 + torch.rand(2, 3, 4, 4) / 2
    alone = FourierReferenceEncoder()(x[:1])
    x[1, 0, 0, 0] = 1.0001
    assert not torch.equal(FourierReferenceEncoder()(x)[:, :1], alone)


# --- Shapes. ---


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
@pytest.mark.parametrize("name", ENCODERS)
def test_below_four_dimensions_planes_and_gradients_mix(name: str, shape: tuple[int, ...]) -> None:
    """The published backward broadcasts I to five dimensions, and autograd sums what comes out to I's shape."""
    encoder, x = ENCODERS[name](), torch.rand(shape)
    grad = torch.randn((8, *shape))
    intensity = x * 255
    slopes = torch.stack([k / 2 ** (7 - k) * encoder.slope(intensity, k) for k in range(8)])
    slopes = slopes.reshape((8,) + (1,) * (4 - len(shape)) + shape)
    expected = (grad * slopes).sum_to_size(shape) * 255
    assert (_gradient(encoder, x, grad) - expected).abs().max() <= 1e-5 * expected.abs().max()
    straight = (grad * slopes.reshape((8, *shape))).sum(0) * 255
    assert not torch.allclose(expected, straight, rtol=1e-2)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (0, 3), (1, 1), (2, 3, 4, 4, 4)])
def test_any_shape_is_taken(shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, requires_grad=True)
    planes = FourierReferenceEncoder()(x)
    assert planes.shape == (8, *shape)
    planes.sum().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())


def test_nothing_depends_on_values_but_values() -> None:
    assert FourierReferenceEncoder()(torch.empty(2, 3, 4, 4, device="meta")).shape == (8, 2, 3, 4, 4)


# --- In names. ---


@pytest.mark.parametrize(("encoder", "decoder"), [("fourierref", "bpd"), ("fourier", "bpdref"), ("ste", "bpdref")])
def test_published_and_consistent_planes_do_not_mix(encoder: str, decoder: str) -> None:
    with pytest.raises(CompositionError, match="reads the code"):
        zoo.create_model(f"has8_resnet_b1_m1_d1_{encoder}_{decoder}", num_classes=2)


@pytest.mark.parametrize("encoder", ["sigmoidref", "tanhref", "fourierref"])
@pytest.mark.parametrize("decoder", ["bpdref", "rate"])
def test_every_name_is_a_model_that_learns(encoder: str, decoder: str) -> None:
    model = zoo.create_model(f"has8_resnetref_b1_m1_d1_{encoder}_{decoder}_lifref", num_classes=2)
    model(torch.rand(2, 3, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in model.parameters())
