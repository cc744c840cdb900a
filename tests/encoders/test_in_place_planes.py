"""The in-place bit planes against their definition: planes bit for bit, gradients, layouts, chunks, what they keep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.allocations import allocated, saved
from zoo.contracts.encoder import Encoder
from zoo.cpu import chunks
from zoo.encoders import bitplanes, in_place_planes
from zoo.encoders.bitplanes import bit_planes
from zoo.encoders.ranges import unit_range
from zoo.registry import default_registry

ENCODERS = ("sigmoid", "tanh", "fourier", "sigmoidraw", "tanhraw", "fourierraw", "ste")
SHAPES = [(1, 1), (2, 7), (3, 2, 5), (2, 3, 4, 5), (3, 1, 1, 1), (2, 2, 3, 2, 3), (5, 40)]
LEVELS = torch.arange(256) / 255
TINY = torch.tensor([0.0, -0.0, 1e-45, -1e-45, 1e-40, 1.2e-38, -1.2e-38, 1e-30])


def make(name: str) -> Encoder:
    encoder: Encoder = default_registry().load("encoder", name)()
    return encoder


@contextmanager
def chunks_of(values: int) -> Iterator[None]:
    """The in-place path walks over so many values at once."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (chunks, in_place_planes):
            patch.setattr(module, "values_at_once", lambda: values)
        yield


@contextmanager
def by_definition() -> Iterator[None]:
    """Encoders take the plain path, which runs everywhere else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bitplanes, "runs_in_place", lambda _: False)
        yield


def step(name: str, x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Planes and the input's gradient."""
    leaf = x.detach().requires_grad_()
    planes = make(name)(leaf)
    return planes.detach(), torch.autograd.grad(planes, leaf, grad)[0]


def terms(name: str, x: Tensor, grad: Tensor) -> Tensor:
    """The largest part that a gradient is summed of: what arrives at x̂, over its sample's range."""
    if not x.numel():
        return torch.zeros(())
    rows = x.detach().float().flatten(1)
    width = rows.amax(1).clamp(min=1) - rows.amin(1).clamp(max=0)
    arriving = step(name, unit_range(x.detach()).clamp(0, 1), grad.float())[1]
    return (arriving.flatten(1).abs().amax(1) / width).max()


def assert_as_defined(name: str, x: Tensor, grad: Tensor, tolerance: float = 1e-3) -> Tensor:
    """Planes bit for bit, gradients to `tolerance` of their maximum; returns the gradient.

    Where a whole sample's gradient cancels, as in one of equal values, float32 leaves the rounding of its terms.
    """
    planes, found = step(name, x, grad)
    with by_definition():
        expected_planes, expected = step(name, x, grad)
        cancelled = 1e-5 * terms(name, x, grad)
    assert torch.equal(planes, expected_planes)
    assert torch.equal(planes, bit_planes(unit_range(x), x.dtype))
    assert (planes.dtype, found.dtype, found.shape) == (x.dtype, x.dtype, x.shape)
    assert bool(torch.isfinite(found).all())
    largest = expected.float().abs().max()
    assert (found.float() - expected.float()).abs().max() <= tolerance * largest + cancelled
    return found


def rounding(dtype: torch.dtype) -> float:
    """Of the gradient in that type, relative to its maximum."""
    return {torch.float32: 1e-3, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}[dtype]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Values ---------------------------------------------------------------------------------------------------------------


def inside(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.rand(shape, generator=generator(seed))


def edges(shape: tuple[int, ...], seed: int) -> Tensor:
    """Levels, the borders between them, where a plane changes, and the neighbours of each in float32."""
    centres = torch.cat([LEVELS, (torch.arange(255) + 0.5) / 255])
    values = torch.cat([centres, *(torch.nextafter(centres, torch.tensor(to)) for to in (2.0, -1.0)), TINY.abs()])
    return values.clamp_(0, 1)[torch.randint(len(values), shape, generator=generator(seed))]


def denormal(shape: tuple[int, ...], seed: int) -> Tensor:
    return TINY[torch.randint(len(TINY), shape, generator=generator(seed))]


def outside(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=generator(seed)) * 30


def far_outside(shape: tuple[int, ...], seed: int) -> Tensor:
    """One range of 10⁴ in every sample, and everything else in between."""
    values = torch.tensor([1e4, -1e4, 0.5, 0.0, 1.0, -3.0, 255.0, 2e3])
    return values[torch.randint(len(values), shape, generator=generator(seed))]


def extremes_in_common(shape: tuple[int, ...], seed: int) -> Tensor:
    """Many values that are their sample's least or largest, as behind a ReLU6."""
    return (torch.randn(shape, generator=generator(seed)) * 5).clamp_(-3, 4)


def constant(shape: tuple[int, ...], seed: int) -> Tensor:
    """Every sample one value, of which some are bounds themselves."""
    values = torch.tensor([0.0, 1.0, 0.4, 4.0, -3.0, 1e30, -1e30, 1e-45])
    picked = values[torch.randint(len(values), shape[:1], generator=generator(seed))]
    return picked.reshape(-1, *(1,) * (len(shape) - 1)).expand(shape).contiguous()


VALUES: list[Callable[[tuple[int, ...], int], Tensor]] = [
    inside,
    edges,
    denormal,
    outside,
    far_outside,
    extremes_in_common,
    constant,
]


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("name", ENCODERS)
def test_every_value_is_encoded_as_defined(name: str, values: Callable[[tuple[int, ...], int], Tensor]) -> None:
    for seed, shape in enumerate(((4, 3, 16, 17), (6, 700), (3, 1))):
        x = values(shape, seed)
        assert_as_defined(name, x, torch.randn((8, *shape), generator=generator(seed + 100)))


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("extreme", [1e30, 3e38, 1e-38])
def test_the_far_end_of_float32_is_encoded_as_defined(name: str, extreme: float) -> None:
    x = torch.tensor([[extreme, 0.0, -0.1 * extreme, 0.5 * extreme], [-extreme, 0.25, 0.5, 1.0], [0.1, 0.2, 0.3, 1.0]])
    grad = torch.randn((8, *x.shape), generator=generator(0))
    found = assert_as_defined(name, x, grad)
    with by_definition():
        alone = step(name, x[:1], grad[:, :1])[1]
    # In its own row's measure too: beside the others its gradient may be next to nothing.
    assert (found[:1] - alone).abs().max() <= 1e-3 * alone.abs().max()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    shape=st.sampled_from(SHAPES),
    name=st.sampled_from(ENCODERS),
    values=st.sampled_from(VALUES),
    chunk=st.sampled_from([1, 2, 3, 7, 16, 39, 40, 41, 200]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
)
def test_any_size_in_chunks_of_any_size_is_encoded_as_defined(
    seed: int,
    shape: tuple[int, ...],
    name: str,
    values: Callable[[tuple[int, ...], int], Tensor],
    chunk: int,
    dtype: torch.dtype,
) -> None:
    x = values(shape, seed).clamp_(-6e4, 6e4).to(dtype)
    grad = torch.randn((8, *shape), generator=generator(seed)).to(dtype)
    with chunks_of(chunk):
        assert_as_defined(name, x, grad, rounding(dtype))


@pytest.mark.parametrize("name", ["fourier", "sigmoidraw", "ste"])
@pytest.mark.parametrize("size", [-1, 0, 1])
def test_the_border_of_a_real_chunk_is_none(name: str, size: int) -> None:
    """One value short of a chunk, a whole one, one over: one sample longer than it, and samples that share it."""
    most = chunks.values_at_once()
    for shape in ((1, most + size), (3, most // 2 + size)):
        x = outside(shape, size + 1)
        assert_as_defined(name, x, torch.randn((8, *shape), generator=generator(7)))


# Layouts --------------------------------------------------------------------------------------------------------------

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(2, 3),
    "permuted with its images": lambda x: x.permute(2, 0, 3, 1),
    "every second": lambda x: x[:, :, ::2, 1::2],
    "a window": lambda x: x[1:, 1:, 2:5, 1:4],
    "expanded": lambda x: x[:, :1].expand(-1, 4, -1, -1),
    "expanded images": lambda x: x[:1].expand(3, -1, -1, -1),
    "backwards": lambda x: x.flip(3)[..., ::3],
    "a row": lambda x: x.flatten()[::5].reshape(1, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ENCODERS)
def test_every_layout_is_encoded_as_defined(name: str, layout: str) -> None:
    x = LAYOUTS[layout](torch.randn((4, 3, 6, 8), generator=generator(1)) * 3)
    grad = torch.randn((8, *x.shape), generator=generator(2))
    layouts = [grad, grad.transpose(-1, -2).contiguous().transpose(-1, -2), grad[:1].expand(grad.shape)]
    with chunks_of(29):
        for each in layouts:
            assert_as_defined(name, x, each)


@pytest.mark.parametrize("name", ENCODERS)
def test_planes_and_gradients_lie_in_memory_as_the_input_does(name: str) -> None:
    x = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    planes, found = step(name, x, torch.randn(8, 2, 3, 4, 5))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert planes.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert planes.flatten(0, 1).data_ptr() == planes.data_ptr()  # which the convolution behind it makes of them


@pytest.mark.parametrize("shape", [(2, 0), (0, 3, 4), (2, 3, 0, 5)])
@pytest.mark.parametrize("name", ENCODERS)
def test_nothing_is_encoded_as_nothing(name: str, shape: tuple[int, ...]) -> None:
    planes, found = step(name, torch.empty(shape), torch.empty(8, *shape))
    assert (planes.shape, found.shape) == ((8, *shape), shape)


# Ties -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize("name", ENCODERS)
def test_equal_extremes_share_their_bounds_gradient(name: str, chunk: int) -> None:
    """As torch's amin and amax share it; a bound that is 0 or 1 itself takes none."""
    x = torch.tensor(
        [
            [-2.0, 3.0, -2.0, 0.3, 3.0, 3.0],  # two are the least, three the largest, in several chunks
            [0.0, 1.0, 0.0, 1.0, 0.5, 0.5],
            [1.0, 1.0, 5.0, 0.0, 5.0, 0.0],
            [-1.0, -1.0, 1.0, 1.0, 0.0, 0.0],
            [2.0, 2.0, 2.0, 2.0, 2.0, 2.0],
            [-2.0, -2.0, -2.0, -2.0, -2.0, -2.0],
        ]
    )
    grad = torch.randn((8, *x.shape), generator=generator(3))
    with chunks_of(chunk):
        found = assert_as_defined(name, x, grad, 1e-4)
        even = step(name, x, torch.ones_like(grad))[1]
    assert found[0].abs().max() > 0
    # Values that are equal get equal gradients where what arrives at them is equal.
    assert torch.allclose(even[0, [0, 4]], even[0, [2, 5]], rtol=1e-5)
    # A sample that is moved as a whole within its bounds' reach stays what it is encoded as.
    assert even[4].sum().abs() <= 1e-4 * found.abs().max()
    assert even[5].sum().abs() <= 1e-4 * found.abs().max()


# What is kept, and what is made on the way ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ENCODERS)
def test_the_input_alone_is_kept(name: str, dtype: torch.dtype) -> None:
    encoder, x = make(name), torch.rand(2, 3, 8, 8).to(dtype).requires_grad_()
    (kept,) = saved(lambda: encoder(x))
    assert kept.data_ptr() == x.data_ptr()
    assert kept.shape == x.shape
    assert saved(lambda: encoder(x.detach())) == []
    with torch.no_grad():
        assert saved(lambda: encoder(x)) == []
        assert encoder(x).grad_fn is None


@pytest.mark.parametrize("name", ENCODERS)
def test_nothing_of_the_planes_size_is_made_but_the_planes(name: str) -> None:
    """Forward: the planes, and pieces of a chunk. Backward: the gradient, and pieces of a sample, or of a chunk."""
    encoder, chunk = make(name), 64
    x = (torch.rand(4, 3, 32, 32) * 4 - 1).requires_grad_()
    grad = torch.randn(8, *x.shape)
    size = x.nbytes
    with chunks_of(chunk):
        *pieces, planes_bytes = allocated(lambda: encoder(x), x)
        assert planes_bytes == 8 * size
        assert max(pieces) <= 4 * chunk
        planes = encoder(x)
        *pieces, gradient_bytes = allocated(partial(torch.autograd.grad, planes, x, grad), x, grad, planes)
    assert gradient_bytes == size
    assert max(pieces) <= max(8 * 8 * chunk, x[0].nbytes)
