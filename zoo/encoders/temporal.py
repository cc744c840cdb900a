"""Input codings of the baselines: rate, time to first spike, weighted phase. None has a surrogate gradient."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor

from zoo.contracts.encoder import BINARY_MSB_FIRST, Encoder
from zoo.contracts.price import BINARY_DIGITS, RANGE_STEP
from zoo.encoders.bitplanes import unit_range
from zoo.errors import check_count, check_flag

_GOLDEN = (math.sqrt(5) - 1) / 2


def rate_spikes(x: Tensor, timesteps: int) -> Tensor:
    """s_t ~ Bernoulli(x), independent draws from torch's generator.

    Args:
        x: (N, C, …) in [0, 1].
        timesteps: T ≥ 1.

    Returns:
        (T, N, C, …) in {0, 1}.
    """
    return (torch.rand((timesteps, *x.shape), dtype=x.dtype, device=x.device) < x).to(x.dtype)


def fixed_rate_spikes(x: Tensor, timesteps: int) -> Tensor:
    """Rate coding against thresholds that depend on timestep and position alone, the same for every sample.

    Position p starts at frac(p·φ) and steps through the strata t/T, so that T spikes hold a rate to 1/T.

    Args:
        x: (N, C, …) in [0, 1].
        timesteps: T ≥ 1.

    Returns:
        (T, N, C, …) in {0, 1}.
    """
    position = torch.arange(math.prod(x.shape[1:]), dtype=torch.float64, device=x.device)
    step = torch.arange(timesteps, dtype=torch.float64, device=x.device)
    threshold = torch.frac(position * _GOLDEN + step[:, None] / timesteps)
    return (threshold.reshape(timesteps, 1, *x.shape[1:]) < x).to(x.dtype)


def ttfs_spikes(x: Tensor, timesteps: int) -> Tensor:
    """One spike at t = round((T − 1)(1 − x)): bright is early.

    Args:
        x: (N, C, …) in [0, 1].
        timesteps: T ≥ 1.

    Returns:
        (T, N, C, …) in {0, 1}, exactly one 1 along T.
    """
    when = torch.round((timesteps - 1) * (1 - x.double())).to(torch.int64)
    steps = torch.arange(timesteps, device=x.device).reshape((-1,) + (1,) * x.dim())
    return (steps == when).to(x.dtype)


def phase_spikes(x: Tensor, timesteps: int) -> Tensor:
    """⌊x·2^T⌋ clipped to 2^T − 1, most significant bit first; plane t stands for 2^−(1+t).

    Args:
        x: (N, C, …) in [0, 1]; 1 is allowed.
        timesteps: T, 1 to 24.

    Returns:
        (T, N, C, …) in {0, 1}.
    """
    level = torch.floor(x.double() * 2**timesteps).to(torch.int64).clamp(max=2**timesteps - 1)
    shifts = torch.arange(timesteps - 1, -1, -1, device=x.device)
    return ((level >> shifts.reshape((-1,) + (1,) * x.dim())) & 1).to(x.dtype)


class TemporalEncoder(Encoder):
    """Base of the baselines' codings: any T up to a bound, the range step, no gradient."""

    api_version = 1
    differentiable = False
    options = frozenset({"timesteps"})
    max_timesteps: ClassVar[int] = 1024

    def __init__(self, timesteps: int = 10) -> None:
        super().__init__()
        self._timesteps = check_count("timesteps", timesteps, 1, self.max_timesteps)

    @property
    @final
    def timesteps(self) -> int:
        return self._timesteps

    @abstractmethod
    def spikes(self, x: Tensor) -> Tensor:
        """(N, C, …) in [0, 1], float32 at least → (T, N, C, …) in {0, 1}."""

    def forward(self, x: Tensor) -> Tensor:
        return self.spikes(unit_range(x.detach())).to(x.dtype)


@final
class RateEncoder(TemporalEncoder):
    """Bernoulli spikes in training, fixed thresholds in eval mode; with `random=False` fixed thresholds always."""

    code = "rate"
    options = TemporalEncoder.options | {"random"}

    def __init__(self, timesteps: int = 10, random: bool = True) -> None:
        super().__init__(timesteps)
        self._random = check_flag("random", random)

    def spikes(self, x: Tensor) -> Tensor:
        draws = self.training and self._random
        return rate_spikes(x, self.timesteps) if draws else fixed_rate_spikes(x, self.timesteps)


@final
class TtfsEncoder(TemporalEncoder):
    """Time to first spike: one spike a value, early if it is bright."""

    code = "ttfs"
    repeatable = True

    def spikes(self, x: Tensor) -> Tensor:
        return ttfs_spikes(x, self.timesteps)


@final
class PhaseEncoder(TemporalEncoder):
    """Weighted phase: binary digits, most significant first."""

    code = BINARY_MSB_FIRST
    repeatable = True
    prices = (RANGE_STEP, BINARY_DIGITS)
    max_timesteps = 24

    def spikes(self, x: Tensor) -> Tensor:
        return phase_spikes(x, self.timesteps)
