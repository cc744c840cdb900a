"""The baselines' input codings: rate, time to first spike, weighted phase."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zoo.encoders.temporal import PhaseEncoder, RateEncoder, TemporalEncoder, TtfsEncoder
from zoo.errors import CompositionError, OptionError

ENCODERS: tuple[type[TemporalEncoder], ...] = (RateEncoder, TtfsEncoder, PhaseEncoder)
GRID = torch.arange(1001, dtype=torch.float64) / 1000
fast = settings(max_examples=40, deadline=None)
steps = st.integers(1, 64)
bits = st.integers(1, 24)


def pixels(seed: int, shape: tuple[int, ...] = (3, 2, 5, 4)) -> Tensor:
    """Random values in [0, 1], both ends among them."""
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    x.view(-1)[0], x.view(-1)[-1] = 0.0, 1.0
    return x


# --- What all three share ---


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (2, 7), (0, 3, 2, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_spikes_are_binary_in_the_inputs_shape_and_type(
    encoder: type[TemporalEncoder], dtype: torch.dtype, shape: tuple[int, ...], training: bool
) -> None:
    x = torch.rand(shape).mul_(3).sub_(1).to(dtype)  # outside [0, 1] as well
    spikes = encoder(timesteps=6).train(training)(x)
    assert spikes.shape == (6, *shape)
    assert spikes.dtype == dtype
    assert bool(((spikes == 0) | (spikes == 1)).all())


@pytest.mark.parametrize("encoder", ENCODERS)
def test_default_is_ten_steps_without_a_gradient(encoder: type[TemporalEncoder]) -> None:
    made = encoder()
    assert made.timesteps == 10
    assert made.differentiable is False
    assert not made(torch.rand((1, 2), requires_grad=True)).requires_grad


@pytest.mark.parametrize("timesteps", [0, -1, True, 2.5, 10**9, "10", None])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_unusable_timesteps_are_refused(encoder: type[TemporalEncoder], timesteps: Any) -> None:
    out_of_range = type(timesteps) is int
    with pytest.raises(CompositionError if out_of_range else OptionError, match="timesteps"):
        encoder(timesteps=timesteps)


@pytest.mark.parametrize(("encoder", "largest"), [(RateEncoder, 1024), (TtfsEncoder, 1024), (PhaseEncoder, 24)])
def test_largest_number_of_steps(encoder: type[TemporalEncoder], largest: int) -> None:
    assert encoder(timesteps=largest)(torch.ones(1, 1)).shape == (largest, 1, 1)
    with pytest.raises(CompositionError, match=f"valid: 1 to {largest}"):
        encoder(timesteps=largest + 1)


# --- Rate ---


def test_rate_in_training_draws_from_torchs_generator() -> None:
    coder, x = RateEncoder(timesteps=8).train(), pixels(1)
    torch.manual_seed(7)
    first, second = coder(x), coder(x)
    torch.manual_seed(7)
    assert torch.equal(coder(x), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rate_in_training_is_as_dark_as_its_input_in_half_precision(dtype: torch.dtype) -> None:
    x = torch.full((1, 20_000), 0.001, dtype=dtype)
    mean = RateEncoder(timesteps=50).train()(x).double().mean().item()
    assert mean == pytest.approx(0.001, abs=1.3e-4)  # four standard deviations of a million draws


def test_rate_in_training_has_the_mean_of_its_input() -> None:
    torch.manual_seed(8)
    x = torch.tensor([0.0, 0.1, 0.5, 0.93, 1.0])[None, :, None].expand(1, 5, 400)
    spikes = RateEncoder(timesteps=200).train()(x)
    # 80,000 draws each: five standard deviations of their mean.
    bound = 5 * (x[0, :, 0] * (1 - x[0, :, 0]) / 80_000).sqrt()
    assert bool(((spikes.mean((0, 1, 3)) - x[0, :, 0]).abs() <= bound).all())
    # Independent from step to step: a fixed pattern would repeat or alternate.
    middle = spikes[:, 0, 2]
    assert abs(float((middle[1:] * middle[:-1]).mean()) - 0.25) < 0.02


def test_rate_without_chance_trains_on_the_spikes_that_it_is_measured_on() -> None:
    coder, x = RateEncoder(random=False).train(), pixels(3)
    assert torch.equal(coder(x), RateEncoder().eval()(x))
    assert torch.equal(coder(x), coder(x))
    with pytest.raises(OptionError, match=r"random.*'no'"):
        RateEncoder(random="no")  # type: ignore[arg-type]


@fast
@given(timesteps=steps)
def test_rate_in_eval_mode_holds_every_rate_to_one_spike(timesteps: int) -> None:
    x = GRID[:, None].expand(-1, 3)
    means = RateEncoder(timesteps=timesteps).eval()(x).mean(0)
    assert float((means - x).abs().max()) <= 1 / timesteps + 1e-12
    assert bool((means[0] == 0).all())
    assert bool((means[-1] == 1).all())
    assert bool((means.diff(dim=0) >= 0).all())  # brighter never spikes less


def test_rate_thresholds_differ_between_positions() -> None:
    spikes = RateEncoder().eval()(torch.full((1, 1, 8, 8), 0.5))
    # Were all positions in step, each timestep would be all ones or all zeros.
    per_step = spikes.mean((1, 2, 3, 4))
    assert bool(((per_step > 0.25) & (per_step < 0.75)).all())


# --- Time to first spike ---


@fast
@given(timesteps=steps, seed=st.integers(0, 2**31))
def test_ttfs_spikes_once_and_early_where_bright(timesteps: int, seed: int) -> None:
    x = pixels(seed)
    spikes = TtfsEncoder(timesteps=timesteps)(x)
    assert torch.equal(spikes.sum(0), torch.ones_like(x))
    want = [round((timesteps - 1) * (1 - value)) for value in x.double().flatten().tolist()]
    assert spikes.argmax(0).flatten().tolist() == want


# --- Weighted phase ---


@fast
@given(timesteps=bits, seed=st.integers(0, 2**31))
def test_phase_is_the_clipped_level_most_significant_bit_first(timesteps: int, seed: int) -> None:
    x = pixels(seed)
    spikes = PhaseEncoder(timesteps=timesteps)(x).flatten(1).T.int().tolist()
    top = 2**timesteps - 1
    want = [min(math.floor(value * 2**timesteps), top) for value in x.flatten().tolist()]
    assert ["".join(map(str, bits)) for bits in spikes] == [f"{level:0{timesteps}b}" for level in want]
