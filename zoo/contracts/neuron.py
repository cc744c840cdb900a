"""Contract of a neuron."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from zoo.contracts.price import NEURON_PRICES, Price


class Neuron(nn.Module, ABC):
    """Maps currents (T, N, …) to spikes (T, N, …) in {0, 1}, from rest on every call, without state between calls.

    Attributes:
        options: keyword arguments of its constructor; none is required.
        prices: operations that it is charged with; by default those of a leaky one.
        in_place: True if nothing else reads its input, so that without gradients the spikes may take its memory;
            `fuse()` sets it behind the convolutions that it folds.
    """

    api_version: ClassVar[int]
    options: ClassVar[frozenset[str]] = frozenset()
    prices: ClassVar[tuple[Price, ...]] = NEURON_PRICES
    in_place: bool = False

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes of T timesteps of input current; equal inputs give equal outputs."""

    def scaled(self, x: Tensor, scale: Tensor) -> Tensor:
        """Return scale · spikes of the currents x / scale; a neuron with a faster way has its own."""
        spikes: Tensor = self(x / scale)
        return spikes * scale

    @property
    def streams(self) -> bool:
        """True if it fires as currents come, and has a `step`; False for one that needs all T currents first."""
        return False

    def step(self, x: Tensor, potential: Tensor | None) -> tuple[Tensor, Tensor]:
        """Run one timestep, as `forward` does: currents (N, …) and potentials to spikes and the next potentials.

        `potential` is what the last step returned; None is rest. A network calls it on a copy of its own.
        """
        raise NotImplementedError(f"{type(self).__name__} has no step")


NeuronFactory = Callable[[], nn.Module]
