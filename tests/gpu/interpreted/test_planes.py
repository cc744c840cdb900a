"""The fused bit planes against their definition: planes bit for bit, gradients, layouts, blocks, what they keep."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.allocations import saved
from tests.encoders.test_in_place_planes import (
    ENCODERS,
    LAYOUTS,
    VALUES,
    constant,
    denormal,
    edges,
    extremes_in_common,
    far_outside,
    generator,
    make,
    outside,
    rounding,
)
from zoo.encoders.bitplanes import _FUSED_WAVES, SurrogateEncoder, _plain_straight, _plain_surrogate, bit_planes
from zoo.encoders.ranges import bounds, unit_range
from zoo.gpu import selection
from zoo.gpu.planes import STRAIGHT, Coding, fused_planes

Values = Callable[[tuple[int, ...], int], Tensor]


def coding_of(name: str) -> Coding:
    """What the kernels need to know of an encoder."""
    encoder = make(name)
    if not isinstance(encoder, SurrogateEncoder):
        return Coding(STRAIGHT, False, bounds, _plain_straight)
    return Coding(_FUSED_WAVES[encoder.slope], encoder.scaled, bounds, _plain_surrogate(encoder.slope, encoder.scaled))


def step(planes_of: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.detach().requires_grad_()
    planes = planes_of(leaf)
    return planes.detach(), torch.autograd.grad(planes, leaf, grad)[0]


def assert_as_defined(name: str, x: Tensor, grad: Tensor, tolerance: float = 1e-3, block: int = 64) -> Tensor:
    """Planes bit for bit, gradients to `tolerance` of their maximum; returns the gradient.

    Where a whole sample's gradient cancels, as in one of equal values, float32 leaves the rounding of its terms.
    """
    coding = coding_of(name)
    planes, found = step(lambda leaf: fused_planes(leaf, coding, block), x, grad)
    expected_planes, expected = step(coding.plain, x, grad)
    assert torch.equal(planes, expected_planes)
    assert torch.equal(planes, bit_planes(unit_range(x), x.dtype))
    assert (planes.dtype, found.dtype, found.shape) == (x.dtype, x.dtype, x.shape)
    assert bool(torch.isfinite(found).all())
    rows = x.detach().float().flatten(1)
    width = rows.amax(1).clamp(min=1) - rows.amin(1).clamp(max=0)
    arriving = step(coding.plain, unit_range(x.detach()).clamp(0, 1), grad.float())[1]
    cancelled = 1e-5 * (arriving.flatten(1).abs().amax(1) / width).max()
    assert (found.float() - expected.float()).abs().max() <= tolerance * expected.float().abs().max() + cancelled
    return found


@pytest.mark.parametrize("name", ["ste", "sigmoid", "tanh", "fourierraw"])
def test_planes_and_gradients_are_the_defined_ones(name: str) -> None:
    """Samples shorter than a block and longer, in range and out of it, at the borders of levels, in both types."""
    cases: tuple[tuple[Values, torch.dtype], ...] = (
        (edges, torch.float32),
        (outside, torch.float32),
        (extremes_in_common, torch.bfloat16),
    )
    for seed, (values, dtype) in enumerate(cases):
        x = values((1, 75) if seed else (2, 40), seed).to(dtype)
        grad = torch.randn((8, *x.shape), generator=generator(seed + 100)).to(dtype)
        assert_as_defined(name, x, grad, rounding(dtype))


def test_every_level_and_every_border_between_levels_is_rounded_as_torch_rounds() -> None:
    halves = (torch.arange(511) / 2 / 255)[None]
    around = torch.cat([halves, *(torch.nextafter(halves, torch.tensor(to)) for to in (2.0, -1.0))]).clamp_(0, 1)
    assert torch.equal(fused_planes(around, coding_of("ste"), 512), bit_planes(unit_range(around)))


def test_equal_extremes_share_their_bounds_gradient() -> None:
    """As torch's amin and amax share it; a bound that is 0 or 1 itself takes none."""
    x = torch.tensor(
        [[-2.0, 3.0, -2.0, 0.3, 3.0, 3.0], [0.0, 1.0, 0.0, 1.0, 0.5, 0.5], [2.0] * 6, [-1.0, -1.0, 1.0, 1.0, 0.0, 0.0]]
    )
    grad = torch.randn((8, *x.shape), generator=generator(3))
    for block in (2, 8):
        found = assert_as_defined("ste", x, grad, 1e-4, block)
    assert found[0].abs().max() > 0


@pytest.mark.parametrize("name", ["ste", "fourier"])
def test_the_input_alone_is_kept(name: str) -> None:
    x = torch.rand(2, 9).requires_grad_()
    (kept,) = saved(lambda: fused_planes(x, coding_of(name), 16))
    assert kept.data_ptr() == x.data_ptr()


@pytest.mark.parametrize("name", ["fourier", "tanh"])
def test_gradients_of_gradients_are_the_defined_ones(name: str) -> None:
    coding, found = coding_of(name), []
    for planes_of in (lambda x: fused_planes(x, coding, 16), coding.plain):
        x = outside((2, 9), 0).requires_grad_()
        arriving = torch.randn((8, 2, 9), generator=generator(4))
        (dx,) = torch.autograd.grad(planes_of(x), x, arriving, create_graph=True)
        found.append(torch.autograd.grad(dx.square().sum(), x)[0])
    assert torch.equal(found[0], found[1])
    assert found[0].abs().max() > 0


def test_encoders_choose_the_kernels_for_the_devices_that_these_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.rand(2, 9).requires_grad_()
    assert all("Fused" not in make(name)(x).grad_fn.name() for name in ENCODERS)
    monkeypatch.setattr(selection, "DEVICES", frozenset({"cpu"}))
    assert all("FusedPlanes" in make(name)(x).grad_fn.name() for name in ENCODERS)
    assert "Fused" not in make("ste")(x.double()).grad_fn.name()
    assert make("ste")(x[:0]).shape == (8, 0, 9)


@pytest.mark.slow
@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("name", ENCODERS)
def test_every_value_is_encoded_as_defined(name: str, values: Values) -> None:
    for seed, shape in enumerate(((4, 3, 8, 9), (3, 400), (3, 1))):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            x = values(shape, seed).clamp_(-6e4, 6e4).to(dtype)
            grad = torch.randn((8, *shape), generator=generator(seed + 100)).to(dtype)
            assert_as_defined(name, x, grad, rounding(dtype), 128)


@pytest.mark.slow
@pytest.mark.parametrize("values", [constant, denormal, far_outside])
def test_values_at_the_ends_of_float32_are_encoded_as_defined(values: Values) -> None:
    for name in ENCODERS:
        x = values((3, 50), 1)
        assert_as_defined(name, x, torch.randn((8, 3, 50), generator=generator(5)))


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["ste", "fourier", "sigmoidraw"])
def test_every_layout_is_encoded_as_defined(name: str, layout: str) -> None:
    x = LAYOUTS[layout](torch.randn((4, 3, 6, 8), generator=generator(1)) * 3)
    grad = torch.randn((8, *x.shape), generator=generator(2))
    for arriving in (grad, grad.transpose(-1, -2).contiguous().transpose(-1, -2), grad[:1].expand(grad.shape)):
        assert_as_defined(name, x, arriving)
