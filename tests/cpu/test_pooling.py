"""Average pooling: torch's own values and gradients, and nothing kept but a shape."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import layer
from torch import Tensor

from tests.allocations import kept_memory
from zoo.backbones.layers import SpikingAvgPool2d, spiking_avg_pool
from zoo.cpu.functions import kernel_supports
from zoo.cpu.library import library

WINDOWS = ((2, 2, 0), (3, 2, 1), (3, 3, 0), (2, 1, 1), (3, 1, 1))
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def spikes(*shape: int, dtype: torch.dtype = torch.float32, last: bool = False) -> Tensor:
    images = (torch.rand(8 * shape[0], *shape[1:]) < 0.3).to(dtype)
    images = images.contiguous(memory_format=torch.channels_last) if last else images
    return images.unflatten(0, (8, shape[0])).requires_grad_()


def torchs(*window: int) -> torch.nn.Module:
    return layer.AvgPool2d(*window, step_mode="m")


def gradient(pool: torch.nn.Module, x: Tensor, upstream: Tensor) -> Tensor:
    return torch.autograd.grad(pool(x), x, upstream)[0]


@given(
    window=st.sampled_from(WINDOWS),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    channels=st.sampled_from([1, 3, 16]),
    dtype=st.sampled_from(DTYPES),
    last=st.booleans(),
)
def test_values_and_gradients_are_those_of_torch(
    window: tuple[int, int, int], height: int, width: int, channels: int, dtype: torch.dtype, last: bool
) -> None:
    pool, plain = SpikingAvgPool2d(*window), torchs(*window)
    x = spikes(2, channels, height, width, dtype=dtype, last=last)
    y = pool(x)
    assert torch.equal(y, plain(x))
    upstream = torch.randn_like(y)
    found = gradient(pool, x, upstream)
    wide = x.detach().double().requires_grad_()
    exact, terms = (gradient(plain, wide, each.double()) for each in (upstream, upstream.abs()))
    assert found.dtype is dtype
    if not kernel_supports(x):  # torch's own layer ran
        assert torch.equal(found, gradient(plain, x, upstream))
        return
    sums = 1 if dtype in (torch.bfloat16, torch.float16) else window[0] ** 2 + 1  # half precision is rounded once
    bound = sums * torch.finfo(dtype).eps / 2 * terms + torch.finfo(dtype).smallest_normal
    assert ((found.double() - exact).abs() <= 1.01 * bound).all()


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("last", [False, True])
def test_every_pixel_gets_a_gradient_of_its_own(window: tuple[int, int, int], last: bool) -> None:
    """Old memory does not show through, not even in pixels that no window reaches."""
    pool, x = SpikingAvgPool2d(*window), spikes(1, 3, 7, 8, last=last)
    dirty = [torch.full((8, 3, 7, 8), float("nan")) for _ in range(8)]
    del dirty
    found = gradient(pool, x, torch.ones_like(pool(x)))
    exact = gradient(torchs(*window), x, torch.ones_like(pool(x)))
    torch.testing.assert_close(found, exact)


def test_infinite_and_missing_gradients_stay_where_they_are() -> None:
    pool, x = spiking_avg_pool(3, 2, 1), spikes(1, 1, 9, 9)
    upstream = torch.zeros_like(pool(x))
    upstream[0, 0, 0, 1, 1], upstream[7, 0, 0, 3, 4] = float("inf"), float("nan")
    found, exact = gradient(pool, x, upstream), gradient(torchs(3, 2, 1), x, upstream)
    assert torch.equal(found.isinf(), exact.isinf())
    assert torch.equal(found.isnan(), exact.isnan())
    assert torch.equal(found.nan_to_num(), exact.nan_to_num())


@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1)])
def test_gradients_of_gradients(window: tuple[int, int, int]) -> None:
    found = []
    for each in (SpikingAvgPool2d(*window), torchs(*window)):
        torch.manual_seed(0)
        x = spikes(2, 3, 8, 8)
        (once,) = torch.autograd.grad(each(x).square().sum(), x, create_graph=True)
        found.append((once, *torch.autograd.grad(once.pow(3).sum(), x)))
    for own, exact in zip(*found, strict=True):
        torch.testing.assert_close(own, exact)


@pytest.mark.parametrize("window", [(9, 2, 0), (9, 1, 0), (3, 1, 2)])
def test_a_window_that_torch_refuses_is_refused(window: tuple[int, int, int]) -> None:
    """One larger than the map, and padding of more than half a window."""
    for pool in (torchs(*window), SpikingAvgPool2d(*window)):
        with pytest.raises(RuntimeError):
            pool(spikes(1, 3, 8, 8))


SETTINGS: list[dict[str, object]] = [
    {"ceil_mode": True},
    {"count_include_pad": False},
    {"divisor_override": 5},
    {"kernel_size": (3, 2)},
    {"stride": (2, 1)},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_settings_are_those_of_torch(settings: dict[str, object]) -> None:
    pool, plain, x = SpikingAvgPool2d(3, 2, 1), torchs(3, 2, 1), spikes(1, 3, 8, 8)
    unchanged = pool(x)
    for key, value in settings.items():
        setattr(pool, key, value)
        setattr(plain, key, value)
    y = pool(x)
    assert torch.equal(y, plain(x))
    assert y.shape != unchanged.shape or not torch.equal(y, unchanged)
    torch.testing.assert_close(gradient(pool, x, torch.ones_like(y)), gradient(plain, x, torch.ones_like(y)))


@pytest.mark.skipif(library() is None, reason="no kernels were built, or ZOO_KERNELS=0")
@pytest.mark.parametrize("last", [False, True])
def test_no_spikes_are_kept(last: bool) -> None:
    pool, x = spiking_avg_pool(3, 2, 1), spikes(2, 16, 9, 9, last=last)
    y = pool(x)
    assert kept_memory(lambda: pool(x * 1)) == y.numel() * 4
