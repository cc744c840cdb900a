"""What a neuron must offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from zoo.contracts.price import NEURON_PRICES, Price


class Neuron(nn.Module, ABC):
    """(T, N, …) real → (T, N, …) in {0, 1}, starting from rest on every call and leaving no state behind.

    Attributes:
        options: names of the keyword arguments that its constructor takes; none is required.
        prices: what it is charged with; by default what a leaky one is.
    """

    api_version: ClassVar[int]
    options: ClassVar[frozenset[str]] = frozenset()
    prices: ClassVar[tuple[Price, ...]] = NEURON_PRICES

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Spikes of T timesteps of input current; equal inputs give equal outputs."""


NeuronFactory = Callable[[], nn.Module]
