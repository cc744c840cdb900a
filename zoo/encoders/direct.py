"""Direct coding: the image itself at every timestep; the first neurons make spikes of it (arXiv:2008.03658)."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor

from zoo.contracts.encoder import CONSTANT, Encoder
from zoo.contracts.price import Price
from zoo.errors import check_count


class TimedEncoder(Encoder):
    """An encoder whose T is an option."""

    api_version = 1
    options = frozenset({"timesteps"})
    max_timesteps: ClassVar[int] = 1024

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self._timesteps = check_count("timesteps", timesteps, 1, self.max_timesteps)

    @property
    @final
    def timesteps(self) -> int:
        return self._timesteps


class ValueEncoder(TimedEncoder):
    """An encoder that passes real values on, without spikes."""

    differentiable = True
    repeatable = True
    prices: ClassVar[tuple[Price, ...]] = ()


@final
class DirectEncoder(ValueEncoder):
    """x at each of T timesteps: (N, C, …) → (T, N, C, …), a view of x.

    What follows up to the first neuron is the same at every timestep, so a network computes and is charged it once.

    Example:
        >>> import torch
        >>> DirectEncoder(timesteps=4)(torch.rand(2, 3, 8, 8)).shape
        torch.Size([4, 2, 3, 8, 8])
    """

    code = CONSTANT

    def __init__(self, timesteps: int = 4) -> None:
        super().__init__(timesteps)

    def forward(self, x: Tensor) -> Tensor:
        return x.expand(self._timesteps, *x.shape)
