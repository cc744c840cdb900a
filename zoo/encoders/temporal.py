"""Input codings of the baselines: rate, time to first spike, weighted phase. None has a surrogate gradient."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import final

import torch
from torch import Tensor

from zoo.contracts.encoder import BINARY_MSB_FIRST
from zoo.contracts.price import BINARY_DIGITS, RANGE_STEP
from zoo.encoders.bitplanes import unit_range
from zoo.encoders.direct import TimedEncoder
from zoo.errors import check_flag

_GOLDEN = (math.sqrt(5) - 1) / 2


class TemporalEncoder(TimedEncoder):
    """Base of the baselines' codings: the range step, no gradient."""

    differentiable = False

    def __init__(self, timesteps: int = 10) -> None:
        super().__init__(timesteps)

    @abstractmethod
    def spikes(self, x: Tensor) -> Tensor:
        """(N, C, …) in [0, 1], float32 at least → (T, N, C, …) in {0, 1}."""

    def forward(self, x: Tensor) -> Tensor:
        return self.spikes(unit_range(x.detach())).to(x.dtype)


@final
class RateEncoder(TemporalEncoder):
    """Bernoulli spikes in training, s_t ~ Bernoulli(x); fixed thresholds in eval mode, or always with `random=False`.

    The thresholds depend on timestep and position alone, the same for every sample: position p starts at frac(p·φ) and
    steps through the strata t/T, so that T spikes hold a rate to 1/T.
    """

    code = "rate"
    options = TemporalEncoder.options | {"random"}

    def __init__(self, timesteps: int = 10, random: bool = True) -> None:
        super().__init__(timesteps)
        self._random = check_flag("random", random)

    def spikes(self, x: Tensor) -> Tensor:
        draws = self.training and self._random
        if draws:
            return (torch.rand((self.timesteps, *x.shape), dtype=x.dtype, device=x.device) < x).to(x.dtype)
        position = torch.arange(math.prod(x.shape[1:]), dtype=torch.float64, device=x.device)
        step = torch.arange(self.timesteps, dtype=torch.float64, device=x.device)
        threshold = torch.frac(position * _GOLDEN + step[:, None] / self.timesteps)
        return (threshold.reshape(self.timesteps, 1, *x.shape[1:]) < x).to(x.dtype)


@final
class TtfsEncoder(TemporalEncoder):
    """Time to first spike: exactly one spike a value, at t = round((T − 1)(1 − x)): bright is early."""

    code = "ttfs"
    repeatable = True

    def spikes(self, x: Tensor) -> Tensor:
        when = torch.round((self.timesteps - 1) * (1 - x.double())).to(torch.int64)
        steps = torch.arange(self.timesteps, device=x.device).reshape((-1,) + (1,) * x.dim())
        return (steps == when).to(x.dtype)


@final
class PhaseEncoder(TemporalEncoder):
    """Weighted phase: ⌊x·2^T⌋ clipped to 2^T − 1, most significant bit first; plane t stands for 2^−(1+t)."""

    code = BINARY_MSB_FIRST
    repeatable = True
    prices = (RANGE_STEP, BINARY_DIGITS)
    max_timesteps = 24

    def spikes(self, x: Tensor) -> Tensor:
        level = torch.floor(x.double() * 2**self.timesteps).to(torch.int64).clamp(max=2**self.timesteps - 1)
        shifts = torch.arange(self.timesteps - 1, -1, -1, device=x.device)
        return ((level >> shifts.reshape((-1,) + (1,) * x.dim())) & 1).to(x.dtype)
