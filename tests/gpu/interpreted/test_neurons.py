"""The fused neurons against their definition: spikes bit for bit, gradients, layouts, blocks, what they keep."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from tests.allocations import saved
from tests.neurons.test_in_place_neurons import LAYOUTS, NAMES, UNDER, VALUES, defined, generator, rounding
from zoo.gpu import selection
from zoo.gpu.neurons import Neuron, fused_spikes
from zoo.neurons.functional import _differentiable_backward, plain_spikes, plif_spikes
from zoo.neurons.nodes import IFNeuron, LIFNeuron

LEAKS = {"if": 0, "lif": 1, "plif": 2}


def fused(name: str, x: Tensor, w: Tensor, threshold: float, alpha: float, block: int) -> Tensor:
    """The kernels themselves, on CPU tensors."""
    gain: Tensor | float = w.sigmoid() if name == "plif" else 2.0
    again = partial(_differentiable_backward, kind=LEAKS[name], threshold=threshold, alpha=alpha)
    return fused_spikes(x, gain, Neuron(LEAKS[name], threshold, alpha), again, block)


def assert_as_defined(
    name: str, x: Tensor, grad: Tensor, threshold: float = 1.0, alpha: float = 2.0, block: int = 32, to: float = 1e-3
) -> Tensor:
    """Spikes bit for bit, gradients to `to` of their maximum; returns the spikes."""
    found = []
    for own in (True, False):
        leaf, w = x.detach().requires_grad_(), torch.tensor(0.3, requires_grad=True)
        spikes = fused(name, leaf, w, threshold, alpha, block) if own else defined(name, leaf, w, threshold, alpha)
        dx, dw = torch.autograd.grad(spikes, [leaf, w], grad, allow_unused=True)
        found.append((spikes.detach(), dx, torch.zeros(()) if dw is None else dw))
    (spikes, dx, dw), (expected, expected_dx, expected_dw) = found
    assert torch.equal(spikes, expected)
    assert (spikes.dtype, dx.dtype, dx.shape) == (x.dtype, x.dtype, x.shape)
    assert bool(torch.isfinite(dx).all())
    assert (dx.float() - expected_dx.float()).abs().max() <= to * expected_dx.float().abs().max()
    terms = float((expected_dx.float() * (x.float().abs() + threshold)).abs().sum())
    assert (dw - expected_dw).abs() <= max(1e-3 * float(expected_dw.abs()), 1e-4 * terms)
    return spikes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_spikes_and_gradients_are_the_defined_ones(name: str, dtype: torch.dtype) -> None:
    """T of 1 and 8, less than a block and more, near the threshold and anywhere."""
    for seed, (timesteps, values) in enumerate(((1, "ordinary"), (8, "at the threshold"))):
        x = VALUES[values]((timesteps, 2, 37), seed).to(dtype)
        grad = torch.randn(x.shape, generator=generator(seed + 100)).to(dtype)
        spikes = assert_as_defined(name, x, grad, to=rounding(dtype))
    assert 0 < spikes.float().mean() < 1


def test_a_time_constant_that_is_not_a_power_of_two_divides() -> None:
    """Multiplied by 1/3, as torch does on a GPU, some potentials next to the threshold miss it."""
    x = torch.cat([VALUES["at the threshold"]((8, 1, 200), 0), 3 * torch.tensor([1.0, UNDER]).expand(8, 1, 2)], 2)
    by_definition, v = [], torch.zeros(x.shape[1:])
    for current in x:
        h = v + (current - v) / 3.0
        by_definition.append((h >= 1.0).float())
        v = h * (1 - by_definition[-1])
    again = partial(_differentiable_backward, kind=1, threshold=1.0, alpha=2.0)
    assert torch.equal(fused_spikes(x, 3.0, Neuron(1, 1.0, 2.0), again, 64), torch.stack(by_definition))


@pytest.mark.parametrize("name", NAMES)
def test_the_currents_alone_are_kept(name: str) -> None:
    x = torch.randn(8, 2, 5).requires_grad_()
    w = torch.tensor(0.3)
    kept, *scalars = saved(lambda: fused(name, x, w, 1.0, 2.0, 16))
    assert kept.data_ptr() == x.data_ptr()
    assert all(scalar.dim() == 0 for scalar in scalars)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_gradients_are_the_defined_ones(name: str) -> None:
    found = []
    for own in (True, False):
        x = VALUES["ordinary"]((4, 3, 5), 3).double().float().requires_grad_()
        w = torch.tensor(0.3, requires_grad=True)
        spikes = fused(name, x, w, 1.0, 2.0, 16) if own else plain(name, x, w)
        (dx,) = torch.autograd.grad(spikes.square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(dx.square().sum(), x)[0])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-6)
    assert found[0].abs().max() > 0


def plain(name: str, x: Tensor, w: Tensor) -> Tensor:
    """The definition that is differentiable any number of times."""
    gain: Tensor | float = w.sigmoid() if name == "plif" else 2.0
    return plain_spikes(x, LEAKS[name], gain, 1.0, 2.0)


def test_neurons_choose_the_kernels_for_the_devices_that_these_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(4, 2, 5).requires_grad_()
    w = torch.tensor(0.3)
    node, soft = LIFNeuron(tau=3.0), IFNeuron(v_reset=None)
    assert "Fused" not in node(x).grad_fn.name()
    monkeypatch.setattr(selection, "DEVICES", frozenset({"cpu"}))
    assert "FusedSpikes" in node(x).grad_fn.name()
    assert "FusedSpikes" in plif_spikes(x, w).grad_fn.name()
    long = torch.randn(selection.MOST_TIMESTEPS + 1, 2, requires_grad=True)
    for other in (soft(x), node(x.double()), node(long), node(x[:, :0])):
        assert "Fused" not in other.grad_fn.name()


@pytest.mark.slow
@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("name", NAMES)
def test_every_current_gives_the_defined_spikes(name: str, values: str) -> None:
    for seed, shape in enumerate(((8, 2, 3, 16, 17), (8, 6, 30), (1, 3, 1), (16, 2))):
        x = VALUES[values](shape, seed)
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            grad = torch.randn(shape, generator=generator(seed + 100)).to(dtype)
            for threshold, alpha, block in ((1.0, 2.0, 128), (0.25, 3.5, 16)):
                assert_as_defined(name, x.to(dtype), grad, threshold, alpha, block, rounding(dtype))


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_every_layout_gives_the_defined_spikes(name: str, layout: str) -> None:
    x = LAYOUTS[layout](VALUES["ordinary"]((8, 4, 3, 6, 8), 1))
    grad = torch.randn(x.shape, generator=generator(2))
    for arriving in (grad, grad.transpose(-1, -2).contiguous().transpose(-1, -2), grad[:1].expand(grad.shape)):
        assert_as_defined(name, x, arriving, block=64)
