"""The in-place neurons against their definition: spikes bit for bit, gradients, layouts, chunks, what they keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.allocations import allocated, saved
from zoo.neurons import functional
from zoo.neurons.functional import if_spikes, lif_spikes, plif_spikes

NAMES = ("if", "lif", "plif")
SHAPES = [(1, 1, 1), (8, 2, 7), (3, 1, 40), (8, 2, 3, 4, 5), (5, 3, 2), (2, 9)]
ONE = torch.tensor(1.0)


@contextmanager
def chunks_of(values: int) -> Iterator[None]:
    """The in-place path walks over so many values of a timestep at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functional, "_of_a_timestep", lambda: values)
        yield


class Fire(torch.autograd.Function):
    """Θ(x), and in the backward pass (α/2) / (1 + (πα/2 · x)²)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.alpha = alpha
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grads[0] * (ctx.alpha / 2) / (1 + (math.pi * ctx.alpha / 2 * x) ** 2), None


def defined(name: str, x: Tensor, w: Tensor, threshold: float, alpha: float) -> Tensor:
    """Equation 22 and the two leaks (τ = 2, σ(w)), step by step, membrane potentials in float32."""
    v, spikes = torch.zeros_like(x[0], dtype=torch.float32), []
    for current in x.float():
        leak = {"if": lambda v, x: x, "lif": lambda v, x: (x - v) / 2.0, "plif": lambda v, x: (x - v) * w.sigmoid()}
        h = v + leak[name](v, current)
        spikes.append(Fire.apply(h - threshold, alpha))
        v = h * (1 - spikes[-1])
    return torch.stack(spikes).to(x.dtype)


def in_place_spikes(name: str, x: Tensor, w: Tensor, threshold: float, alpha: float) -> Tensor:
    if name == "plif":
        return plif_spikes(x, w, threshold, alpha)
    return if_spikes(x, threshold, alpha) if name == "if" else lif_spikes(x, 2.0, threshold, alpha)


Step = Callable[[str, Tensor, Tensor, float, float], Tensor]


def step(
    spikes_of: Step, name: str, x: Tensor, grad: Tensor, threshold: float, alpha: float, w: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Spikes and the gradients of the input and of w, which only plif has."""
    leaf, weight = x.detach().requires_grad_(), torch.tensor(w, requires_grad=True)
    spikes = spikes_of(name, leaf, weight, threshold, alpha)
    dx, dw = torch.autograd.grad(spikes, [leaf, weight], grad, allow_unused=True)
    return spikes.detach(), dx, torch.zeros(()) if dw is None else dw


def assert_as_defined(
    name: str, x: Tensor, grad: Tensor, *, threshold: float = 1.0, alpha: float = 2.0, w: float = 0.3, to: float = 1e-3
) -> Tensor:
    """Spikes bit for bit, gradients to `to` of their maximum; returns the spikes."""
    spikes, dx, dw = step(in_place_spikes, name, x, grad, threshold, alpha, w)
    expected, expected_dx, expected_dw = step(defined, name, x, grad, threshold, alpha, w)
    assert torch.equal(spikes, expected)
    assert (spikes.dtype, dx.dtype, dx.shape) == (x.dtype, x.dtype, x.shape)
    assert bool(torch.isfinite(dx).all())
    assert (dx.float() - expected_dx.float()).abs().max() <= to * expected_dx.float().abs().max()
    # Its sum may cancel, and keeps the rounding of its terms.
    terms = float((expected_dx.float() * (x.float().abs() + threshold)).abs().sum())
    assert (dw - expected_dw).abs() <= max(1e-3 * float(expected_dw.abs()), 1e-4 * terms)
    return spikes


def rounding(dtype: torch.dtype) -> float:
    """Of the gradient in that type, relative to its maximum."""
    return {torch.float32: 1e-3, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}[dtype]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Values ---------------------------------------------------------------------------------------------------------------


def ordinary(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=generator(seed)) * 2


def picked(values: list[float]) -> Callable[[tuple[int, ...], int], Tensor]:
    """Currents that are each one of these values."""
    table = torch.tensor(values)
    return lambda shape, seed: table[torch.randint(len(table), shape, generator=generator(seed))]


UNDER, OVER = (float(torch.nextafter(ONE, torch.tensor(to))) for to in (0.0, 2.0))
VALUES: dict[str, Callable[[tuple[int, ...], int], Tensor]] = {
    "ordinary": ordinary,
    "at the threshold": picked([1.0, UNDER, OVER, 2.0, 2 * UNDER, 2 * OVER, 0.5, 0.25, 0.75, 0.0, -1.0]),
    "denormal": picked([0.0, -0.0, 1e-45, -1e-45, 1e-40, -1.2e-38, 1e-30, 1.0, UNDER]),
    "far outside": picked([3e4, -3e4, 1e4, 0.0, 1.0, -255.0, 2e3]),
    "nothing": picked([0.0, -0.0]),
}


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("name", NAMES)
def test_every_current_gives_the_defined_spikes(name: str, values: str) -> None:
    for seed, shape in enumerate(((8, 4, 3, 16, 17), (8, 6, 300), (1, 3, 1), (16, 2))):
        x = VALUES[values](shape, seed)
        assert_as_defined(name, x, torch.randn(shape, generator=generator(seed + 100)))


@pytest.mark.parametrize("name", NAMES)
def test_the_far_end_of_float32_gives_the_defined_spikes(name: str) -> None:
    x = picked([1e30, -1e30, 1e15, -1e15, 3e37, -3e37, 1.0, 0.5])((8, 2, 400), 0)
    assert_as_defined(name, x, torch.randn(x.shape, generator=generator(1)))


@pytest.mark.parametrize("name", NAMES)
def test_a_potential_that_reaches_the_threshold_exactly_fires(name: str) -> None:
    """0.25 four times for IF; for τ = 2, where h = (v + x) / 2, a current of 2 at once, or 1 and then 1.5."""
    rows = [[0.25] * 8, [2.0] * 8]
    rows += [[0.5, 0.5, 1.0, 0.0, 0.5, 0.25, 0.25, -1.0], [1.0, 1.5, 0.0, 1.0, 1.5, 2.0, 4.0, 0.0]]
    x = torch.tensor(rows).T.contiguous()
    spikes = assert_as_defined(name, x, torch.ones_like(x), w=0.0)
    expected = {
        "if": [[3, 7], list(range(8)), [1, 2, 6], [0, 1, 3, 4, 5, 6]],
        "lif": [[], list(range(8)), [], [1, 4, 5, 6]],
    }
    assert [row.nonzero().flatten().tolist() for row in spikes.T] == expected["if" if name == "if" else "lif"]


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**31),
    shape=st.sampled_from(SHAPES),
    name=st.sampled_from(NAMES),
    values=st.sampled_from(sorted(VALUES)),
    chunk=st.sampled_from([1, 2, 3, 7, 39, 40, 41, 200]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    threshold=st.sampled_from([0.25, 1.0, 1.7]),
    alpha=st.sampled_from([1.0, 2.0, 3.5]),
    w=st.floats(-3, 3, width=32),
)
def test_any_size_in_chunks_of_any_size_gives_the_defined_spikes(
    seed: int,
    shape: tuple[int, ...],
    name: str,
    values: str,
    chunk: int,
    dtype: torch.dtype,
    threshold: float,
    alpha: float,
    w: float,
) -> None:
    x = VALUES[values](shape, seed).to(dtype)
    grad = torch.randn(shape, generator=generator(seed)).to(dtype)
    with chunks_of(chunk):
        assert_as_defined(name, x, grad, threshold=threshold, alpha=alpha, w=w, to=rounding(dtype))


# Layouts --------------------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels_last": lambda x: x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2]),
    "transposed": lambda x: x.transpose(3, 4),
    "timesteps inside": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    "timesteps for images": lambda x: x.transpose(0, 1),
    "every second": lambda x: x[::2, :, :, ::2, 1::2],
    "a window": lambda x: x[2:, 1:, 1:, 2:5, 1:4],
    "expanded": lambda x: x[:, :, :1].expand(-1, -1, 4, -1, -1),
    "the same at every timestep": lambda x: x[:1].expand(8, -1, -1, -1, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_every_layout_gives_the_defined_spikes(name: str, layout: str) -> None:
    x = LAYOUTS[layout](ordinary((8, 4, 3, 6, 8), 1))
    grad = torch.randn(x.shape, generator=generator(2))
    with chunks_of(29):
        for each in (grad, grad.transpose(-1, -2).contiguous().transpose(-1, -2), grad[:1].expand(grad.shape)):
            spikes = assert_as_defined(name, x, each)
    assert 0 < spikes.mean() < 1


@pytest.mark.parametrize("name", NAMES)
def test_spikes_and_gradients_lie_in_memory_as_the_currents_do(name: str) -> None:
    x = LAYOUTS["channels_last"](ordinary((8, 2, 3, 4, 5), 1))
    spikes, dx, _ = step(in_place_spikes, name, x, torch.randn(x.shape), 1.0, 2.0, 0.3)
    for each in (spikes, dx):
        assert each.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
        assert each.flatten(0, 1).data_ptr() == each.data_ptr()


# What is kept, and what is made on the way ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_the_currents_alone_are_kept(name: str, dtype: torch.dtype) -> None:
    x, w = ordinary((8, 2, 30), 0).to(dtype).requires_grad_(), torch.tensor(0.3)
    kept, *scalars = saved(lambda: in_place_spikes(name, x, w, 1.0, 2.0))
    assert all(each.dim() == 0 for each in scalars)  # plif's gain
    assert (kept.data_ptr(), kept.shape) == (x.data_ptr(), x.shape)
    assert saved(lambda: in_place_spikes(name, x.detach(), w, 1.0, 2.0)) == []
    with torch.no_grad():
        assert saved(lambda: in_place_spikes(name, x, w.requires_grad_(), 1.0, 2.0)) == []
        assert in_place_spikes(name, x, w, 1.0, 2.0).grad_fn is None


@pytest.mark.parametrize("name", NAMES)
def test_a_forward_keeps_no_history_and_a_backward_that_of_a_chunk(name: str) -> None:
    x, w, chunk = ordinary((8, 4, 3, 32, 32), 0), torch.tensor(0.3), 64
    grad = torch.randn(x.shape, generator=generator(1))
    with chunks_of(chunk):
        with torch.no_grad():
            *pieces, spikes_bytes = allocated(lambda: in_place_spikes(name, x, w, 1.0, 2.0), x, w)
        assert spikes_bytes == x.nbytes
        assert max(pieces) <= 4 * chunk  # one timestep of a chunk
        spikes = in_place_spikes(name, x.requires_grad_(), w, 1.0, 2.0)
        *pieces, gradient_bytes = allocated(partial(torch.autograd.grad, spikes, x, grad), x, w, grad, spikes)
    assert gradient_bytes == x.nbytes
    assert max(pieces) <= 2 * 8 * 4 * chunk  # potentials and slopes of every timestep of a chunk
