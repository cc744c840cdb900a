"""Decoders against the sum over timesteps that defines them: any values, layout and precision, forward and backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoo.contracts.decoder import Decoder
from zoo.decoders.averages import BitPlaneDecoder, RateDecoder

WEIGHTS = {BitPlaneDecoder: [2**k / 255 for k in range(8)], RateDecoder: [1 / 8] * 8}
ROUNDING = {torch.float64: 1e-14, torch.float32: 1e-6, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda x: x,
    "channels_last": lambda x: x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2]),
    "timesteps inside": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    "every second": lambda x: x[:, :, :, ::2, 1::2],
    "expanded": lambda x: x[:, :1].expand(-1, 3, -1, -1, -1),
    "the same at every timestep": lambda x: x[:1].expand(8, -1, -1, -1, -1),
    "a row": lambda x: x.flatten(1),
    "nothing": lambda x: x[:, :0],
}


def numbers(values: str, seed: int) -> Tensor:
    """(8, 2, 3, 4, 6): spikes, sums of a few as residual blocks make them, averages as pooling makes them, or any."""
    generator = torch.Generator().manual_seed(seed)
    whole = torch.randint(0, 2 if values == "spikes" else 5, (8, 2, 3, 4, 6), generator=generator).double()
    if values == "any":
        return torch.randn(whole.shape, generator=generator, dtype=torch.float64)
    return whole / 9 if values == "averages" else whole


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    values=st.sampled_from(["spikes", "sums", "averages", "any"]),
    layout=st.sampled_from(sorted(LAYOUTS)),
    dtype=st.sampled_from(list(ROUNDING)),
    decoder=st.sampled_from([BitPlaneDecoder, RateDecoder]),
)
def test_decoding_is_the_weighted_sum_over_timesteps(
    seed: int, values: str, layout: str, dtype: torch.dtype, decoder: type[Decoder]
) -> None:
    spikes = LAYOUTS[layout](numbers(values, seed).to(dtype))
    leaf = spikes.detach().requires_grad_()
    found = decoder()(leaf)
    expected = sum(weight * each.double() for weight, each in zip(WEIGHTS[decoder], spikes, strict=True))
    assert isinstance(expected, Tensor)
    assert (found.dtype, found.shape) == (dtype, spikes.shape[1:])
    # Of few planes with signs the sum may cancel, and keeps the rounding of its terms.
    allowed = ROUNDING[dtype] * max(1.0, float(spikes.abs().max()) if spikes.numel() else 0.0)
    assert bool(((found.double() - expected).abs() <= allowed).all())
    upstream = torch.rand(found.shape, dtype=torch.float64).add(0.5).to(dtype)
    (gradient,) = torch.autograd.grad(found, leaf, upstream)
    for weight, each in zip(WEIGHTS[decoder], gradient, strict=True):
        torch.testing.assert_close(each.double(), weight * upstream.double(), rtol=2 * ROUNDING[dtype], atol=1e-6)


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_planes_decode_exactly_in_every_layout(layout: str) -> None:
    spikes = LAYOUTS[layout](numbers("spikes", 3).float())
    levels = sum(2**k * each.double() for k, each in enumerate(spikes))
    assert isinstance(levels, Tensor)
    assert torch.equal(BitPlaneDecoder()(spikes), levels.float() / 255)
