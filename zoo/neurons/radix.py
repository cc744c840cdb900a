"""The neuron `radix`: it takes in digits, and writes its quantised ReLU in digits (arXiv:2105.06943).

    v = ½ + Σ_t p_t x_t;  k = min(max(⌊v⌋, 0), L);  s_t = ⌊k / p_t⌋ mod 2

p_t is the place of timestep t: 2^t, or 2^(T−1−t) with the most significant digit first. So a current that is x at every
timestep becomes the level of L that is nearest to (2^T − 1) · x. The gradient passes over the rounding: every s_t has
that of min(max(Σ_t p_t x_t, 0), L) / Σ_t p_t.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from zoo.contracts.neuron import RADIX, Neuron
from zoo.contracts.price import DIGITS
from zoo.cpu import functions
from zoo.cpu.functions import at_least_float32
from zoo.errors import CompositionError, check_count

MOST_DIGITS = 16


def radix_spikes(x: Tensor, places: Sequence[int], levels: int) -> Tensor:
    """Digits of the level nearest to Σ_t p_t x_t: (T, N, …) → (T, N, …) in {0, 1}, x's dtype.

    Args:
        x: currents.
        places: p_t of every timestep, powers of two.
        levels: L, the largest level.
    """
    has_gradient = torch.is_grad_enabled() and x.requires_grad
    if not has_gradient and functions.kernel_supports(x):
        return functions.digits(x, places, levels)
    total = torch.zeros_like(x[0], dtype=at_least_float32(x[:0]).dtype)
    for place, current in zip(places, x, strict=True):
        total = total + place * at_least_float32(current)
    level = (total.detach() + 0.5).floor().nan_to_num(0).clamp(0, levels)
    digits = torch.stack([(level / place).floor() % 2 for place in places])
    if has_gradient:
        inside = (total >= 0) & (total <= levels)
        share = torch.where(inside, total, 0) / sum(places)
        digits = digits + (share - share.detach())
    return digits.to(x.dtype)


@final
class RadixNeuron(Neuron):
    """A quantised ReLU that is written in binary digits, after all T currents are taken in.

    Args:
        levels: L, the largest number that it writes; 2^T − 1 by default, and at most.
    """

    api_version = 1
    code = RADIX
    waits = True
    options = frozenset({"levels"})
    prices = (DIGITS,)

    def __init__(self, levels: int | None = None) -> None:
        super().__init__()
        self.levels = None if levels is None else check_count("levels", levels, 1, 2**MOST_DIGITS - 1)

    def largest(self, timesteps: int) -> int:
        if timesteps > MOST_DIGITS:
            raise CompositionError(f"neuron 'radix' writes up to {MOST_DIGITS} digits, not T = {timesteps}")
        most = super().largest(timesteps)
        if self.levels is not None and self.levels > most:
            raise CompositionError(f"levels={self.levels} need more than T = {timesteps} digits, which end at {most}")
        return most if self.levels is None else self.levels

    def forward(self, x: Tensor) -> Tensor:
        return radix_spikes(x, self.places(len(x)), self.largest(len(x)))

    def extra_repr(self) -> str:
        return "" if self.levels is None else f"levels={self.levels}"
