"""Bit-plane encoders: planes, range step, surrogate slopes; against golden vectors and slow references."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoo.contracts.encoder import Encoder
from zoo.decoders.averages import BitPlaneDecoder
from zoo.encoders.bitplanes import StraightThroughEncoder, unit_range
from zoo.registry.components import default_registry

SURROGATES = ("sigmoid", "tanh", "fourier", "sigmoidraw", "tanhraw", "fourierraw")
ENCODERS = (*SURROGATES, "ste")
GAMMA = (0, 1 / 64, 1 / 16, 3 / 16, 1 / 2, 5 / 4, 3, 7)
LEVELS = torch.arange(256) / 255
HUGE = float(np.float32(1e30))
fast = settings(max_examples=40, deadline=None)


def make(name: str) -> Encoder:
    encoder: Encoder = default_registry().load("encoder", name)()
    return encoder


def input_gradient(name: str, x: Tensor, grad: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(make(name)(x), x, grad)
    return found


def assert_near(found: Tensor, want: Tensor, tolerance: float) -> None:
    """max |a − b| ≤ tolerance · max |b|: element by element, float32 cannot hold these sums."""
    assert found.shape == want.shape
    assert (found - want).abs().max() <= tolerance * want.abs().max()


def expected_planes(x: Tensor) -> np.ndarray:
    """Bits of round(255·x), least significant first, by numpy."""
    levels = np.rint(x.float().numpy() * np.float32(255)).astype(np.uint8)
    return np.moveaxis(np.unpackbits(levels[..., None], axis=-1, bitorder="little"), -1, 0)


# --- Golden vectors ---


@pytest.mark.parametrize("name", ENCODERS)
def test_planes_of_the_256_levels_are_the_published_ones(coding: dict[str, Tensor], name: str) -> None:
    assert torch.equal(make(name)(coding["levels"]), coding["levels_planes"])


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_gradient_is_the_published_one(coding: dict[str, Tensor], name: str) -> None:
    assert_near(input_gradient(name, coding["x"], coding["grad_out"]), coding[f"grad_{name}"], 1e-4)


def test_fourier_gradient_is_the_published_one_without_its_constant(coding: dict[str, Tensor]) -> None:
    found = input_gradient("fourier", coding["x"], coding["grad_out"])
    # The published code has ½ − (2/2^k) Σ cos where the derivative is −(2/2^k) Σ cos.
    constant = 255 * 0.5 * torch.einsum("k,k...->...", torch.tensor(GAMMA), coding["grad_out"])
    assert_near(found + constant, coding["grad_fourier"], 1e-4)
    assert (found - coding["grad_fourier"]).abs().max() > 1e-2 * coding["grad_fourier"].abs().max()


# --- Decoding after encoding ---


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (4, 64), (256, 1)])
@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_decoding_gives_every_level_back_exactly(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = (torch.arange(256, dtype=dtype) / 255).reshape(shape)
    assert torch.equal(BitPlaneDecoder()(make(name)(x)), x)


@fast
@given(seed=st.integers(0, 2**31), shape=st.sampled_from([(3, 7), (2, 3, 4, 5), (1, 1), (2, 1, 1, 1)]))
def test_straight_through_slope_is_exactly_one(seed: int, shape: tuple[int, ...]) -> None:
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    x.view(-1)[0], x.view(-1)[-1] = 0.0, 1.0
    x.requires_grad_()
    BitPlaneDecoder()(StraightThroughEncoder()(x)).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones_like(x))


# --- Range step ---


@fast
@given(seed=st.integers(0, 2**31), bounds=st.sampled_from([(0.0, 1.0), (0.3, 0.4), (0.0, 0.0), (1.0, 1.0)]))
def test_range_step_is_the_identity_inside(seed: int, bounds: tuple[float, float]) -> None:
    low, high = bounds
    x = low + (high - low) * torch.rand((2, 3, 5), generator=torch.Generator().manual_seed(seed))
    x.clamp_(0, 1).view(-1)[0] = low
    x.requires_grad_()
    y = unit_range(x)
    assert torch.equal(y, x)
    upstream = torch.rand(x.shape)
    assert torch.equal(torch.autograd.grad(y, x, upstream)[0], upstream)


def test_range_step_maps_a_sample_by_its_own_extremes() -> None:
    x = torch.tensor([[-1.0, 0.0, 3.0], [0.5, 0.2, 2.0], [-1.0, 0.0, 0.5], [0.25, 0.5, 1.0]])
    want = torch.tensor([[0.0, 0.25, 1.0], [0.25, 0.1, 1.0], [0.0, 0.5, 0.75], [0.25, 0.5, 1.0]])
    torch.testing.assert_close(unit_range(x), want)
    torch.testing.assert_close(unit_range(x[..., None, None]), want[..., None, None])
    torch.testing.assert_close(unit_range(torch.tensor([-1.0, 0.5, 2.0])), torch.tensor([0.0, 0.5, 1.0]))


@pytest.mark.parametrize(
    ("constant", "want"), [(0.0, 0.0), (0.4, 0.4), (1.0, 1.0), (4.0, 1.0), (-3.0, 0.0), (1e30, 1.0), (-1e30, 0.0)]
)
def test_range_step_of_a_constant(constant: float, want: float) -> None:
    x = torch.full((2, 3, 2, 2), constant)
    assert torch.equal(unit_range(x), torch.full_like(x, want))


@pytest.mark.parametrize("values", [[-1.0, 0.2, 3.0], [0.1, 0.6, 2.0], [-2.0, 0.1, 0.7], [0.2, 0.5, 0.9]])
def test_range_gradient_flows_through_the_extremes(values: list[float]) -> None:
    x = torch.tensor([values, [0.4, -0.3, 1.5]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit_range, (x,))
    assert torch.autograd.gradcheck(lambda x: unit_range(x.reshape(2, 3, 1, 1)), (x,))


# --- Adversarial values ---


def edge_values() -> Tensor:
    """Levels and the half-way points between them, each with its two neighbours in float32; zeros, denormals."""
    centres = torch.cat([LEVELS, (torch.arange(255) + 0.5) / 255])
    up, down = torch.nextafter(centres, torch.tensor(2.0)), torch.nextafter(centres, torch.tensor(-1.0))
    tiny = torch.tensor([0.0, -0.0, 1.0, 1e-45, 1.2e-38, 1e-40, 5e-324])
    return torch.cat([centres, up, down, tiny]).clamp(0, 1)


def assert_binary(planes: Tensor, x: Tensor) -> None:
    assert planes.shape == (8, *x.shape)
    assert planes.dtype == x.dtype
    assert bool(((planes == 0) | (planes == 1)).all())


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ENCODERS)
def test_planes_of_edge_values(name: str, dtype: torch.dtype, autocast: bool) -> None:
    x = edge_values().to(dtype)[None]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        planes = make(name)(x)
    assert_binary(planes, x)
    assert np.array_equal(planes.float().numpy(), expected_planes(x))


@fast
@given(
    values=st.lists(st.floats(-HUGE, HUGE, width=32), min_size=1, max_size=6),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float64]),
)
def test_planes_and_gradients_of_any_values(values: list[float], dtype: torch.dtype) -> None:
    x = torch.tensor([values], dtype=dtype)
    for name in ("fourier", "ste"):
        planes = make(name)(x)
        assert_binary(planes, x)
        decoded = BitPlaneDecoder()(planes.float())
        assert min(values) > 0 or decoded.min() == 0  # lo is black …
        assert max(values) < 1 or decoded.max() == 1  # … and hi is white
        grad = input_gradient(name, x, torch.ones_like(planes))
        assert grad.dtype == dtype
        assert bool(torch.isfinite(grad).all())


@pytest.mark.parametrize("name", ENCODERS)
def test_backward_under_autocast_is_that_without(name: str) -> None:
    x, grad = torch.rand(2, 5), torch.randn(8, 2, 5)
    want = input_gradient(name, x, grad)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(input_gradient(name, x, grad), want)


# --- Slopes against the equations, plane by plane and term by term ---


def fourier(phase: Tensor) -> Tensor:
    terms = [torch.sin(n * phase) / n for n in (1, 3, 5, 7, 9)]
    return 0.5 - 2 / math.pi * torch.stack(terms).sum(0)


WAVES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda phase: torch.sigmoid(-10 * torch.sin(phase)),
    "tanh": lambda phase: (1 + torch.tanh(-10 * torch.sin(phase))) / 2,
    "fourier": fourier,
}
"""f_k(I) of equations 16 to 18, of the phase πI / 2^k."""


def slow_gradient(name: str, x: Tensor, grad: Tensor) -> Tensor:
    """255 Σ_k γ_k g_k f_k′(255·x) in float64, differentiated by torch."""
    wave, gamma = WAVES[name.removesuffix("raw")], (1.0,) * 8 if name.endswith("raw") else GAMMA
    # 255·x in x's own precision: its rounding is the encoder's definition of I, not an error of the slope.
    intensity = (x * 255).double().requires_grad_()
    smooth = torch.stack([gamma[k] * wave(math.pi * intensity / 2**k) for k in range(8)])
    return 255 * torch.autograd.grad(smooth, intensity, grad.double())[0]


@pytest.mark.parametrize("name", SURROGATES)
def test_slopes_follow_the_equations(name: str) -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.cat([torch.rand((1, 300), generator=generator), LEVELS[None]], dim=1)
    grad = torch.randn((8, *x.shape), generator=generator)
    assert_near(input_gradient(name, x, grad).double(), slow_gradient(name, x, grad), 1e-5)
    wide = input_gradient(name, x.double(), grad.double())
    assert_near(wide, slow_gradient(name, x.double(), grad), 1e-10)


@pytest.mark.parametrize("name", SURROGATES)
def test_bfloat16_gradient_is_the_float32_one_rounded(name: str) -> None:
    x, grad = torch.rand(2, 40).bfloat16(), torch.randn(8, 2, 40).bfloat16()
    want = input_gradient(name, x.float(), grad.float()).bfloat16()
    assert torch.equal(input_gradient(name, x, grad), want)


# --- Gradients of gradients ---


@pytest.mark.parametrize("name", ["sigmoid", "tanhraw", "fourier"])
def test_second_derivative(name: str) -> None:
    x = torch.tensor([[0.0713, 0.3123, 0.5391], [0.6637, 0.8011, 0.9219]], dtype=torch.float64, requires_grad=True)
    grad = torch.rand((8, 2, 3), dtype=torch.float64, generator=torch.Generator().manual_seed(5)) / 255**2
    grad.requires_grad_()
    # I moves by 255·eps: steps this small resolve plane 0, whose slope turns ten times a level.
    assert torch.autograd.gradgradcheck(make(name), (x,), (grad,), eps=1e-7, rtol=1e-4)
