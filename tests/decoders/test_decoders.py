"""Rate and bit-plane decoding, and which encoders they can read."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoo.contracts.encoder import Encoder
from zoo.decoders.averages import BitPlaneDecoder, RateDecoder
from zoo.encoders.bitplanes import FourierEncoder, StraightThroughEncoder
from zoo.encoders.temporal import PhaseEncoder, RateEncoder, TemporalEncoder, TtfsEncoder
from zoo.errors import CompositionError

SHAPES = [(3, 4), (2, 3, 5, 4), (2, 3, 4, 2, 2)]
fast = settings(max_examples=30, deadline=None)


class FewPlanes(TemporalEncoder):
    """Speaks bpd's code, in another number of planes."""

    code = "binary-lsb-first"

    def spikes(self, x: Tensor) -> Tensor:
        return x.new_zeros((self.timesteps, *x.shape))


def test_rate_of_the_256_levels_is_the_published_one(coding: dict[str, Tensor]) -> None:
    found = RateDecoder()(coding["levels_planes"])
    torch.testing.assert_close(found, coding["rate_of_levels"], rtol=0, atol=1e-7)


def test_bpd_of_the_256_levels_is_exact_and_not_the_published_one(coding: dict[str, Tensor]) -> None:
    found = BitPlaneDecoder()(coding["levels_planes"])
    assert torch.equal(found, coding["levels"])
    # The published decoder reads the planes in the other order.
    torch.testing.assert_close(BitPlaneDecoder()(coding["levels_planes"].flip(0)), coding["bpd_of_levels"])
    assert (found - coding["bpd_of_levels"]).abs().max() > 0.8


@fast
@given(timesteps=st.integers(1, 40), shape=st.sampled_from(SHAPES), seed=st.integers(0, 2**31))
def test_rate_is_the_mean_over_any_number_of_steps(timesteps: int, shape: tuple[int, ...], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    spikes = torch.randint(0, 2, (timesteps, *shape), generator=generator).double()
    want = sum(spikes[t] for t in range(timesteps)) / timesteps
    torch.testing.assert_close(RateDecoder()(spikes), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("decoder", "weights"), [(RateDecoder, [1 / 8] * 8), (BitPlaneDecoder, None)])
def test_gradient_of_a_plane_is_its_weight(
    decoder: type[RateDecoder | BitPlaneDecoder], weights: list[float] | None, shape: tuple[int, ...]
) -> None:
    weight = torch.tensor(weights or [2**k / 255 for k in range(8)], dtype=torch.float64)
    spikes = torch.rand((8, *shape), dtype=torch.float64, requires_grad=True)
    upstream = torch.rand(shape, dtype=torch.float64)
    (found,) = torch.autograd.grad(decoder()(spikes), spikes, upstream)
    torch.testing.assert_close(found, torch.einsum("t,...->t...", weight, upstream))


def test_bpd_refuses_another_code() -> None:
    for encoder in (PhaseEncoder(timesteps=8), RateEncoder(timesteps=8), TtfsEncoder(timesteps=8)):
        with pytest.raises(CompositionError, match=f"binary-lsb-first.*{encoder.code}"):
            BitPlaneDecoder().check(encoder)


@pytest.mark.parametrize("timesteps", [1, 7, 9])
def test_bpd_refuses_another_number_of_planes(timesteps: int) -> None:
    with pytest.raises(CompositionError, match=f"T = 8.*T = {timesteps}"):
        BitPlaneDecoder().check(FewPlanes(timesteps))


def test_what_fits_is_accepted() -> None:
    planes: list[Encoder] = [FourierEncoder(), StraightThroughEncoder(), FewPlanes(8)]
    for encoder in planes:
        BitPlaneDecoder().check(encoder)
    for encoder in [*planes, PhaseEncoder(), RateEncoder(timesteps=3), FewPlanes(1)]:
        RateDecoder().check(encoder)
