"""Contract of a neuron."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from zoo.contracts.price import NEURON_PRICES, Price

UNARY = "unary"
"""Code of spikes in {0, 1} of equal worth: k spikes stand for k, whenever they come."""

RADIX = "radix"
"""Code of binary digits: a spike in {0, 1} at the timestep of bit b is worth 2^b (arXiv:2105.06943)."""

SIGNED = "signed"
"""Code of spikes in {−1, 0, 1} of equal worth."""

GRADED = "graded"
"""Code of whole numbers, each in one event."""

REAL = "real"
"""Code of real numbers: units that keep a state and send no spikes."""


class Neuron(nn.Module, ABC):
    """Maps currents (T, N, …) to spikes (T, N, …), from rest on every call, without state between calls.

    Attributes:
        code: what its spikes stand for: `UNARY`, `RADIX`, `SIGNED`, `GRADED` or `REAL`.
        least_first: of digits, the least significant comes first; a network sets it, as its encoder orders planes.
        options: keyword arguments of its constructor; none is required.
        prices: operations that it is charged with; by default those of a leaky one.
        waits: takes in all T currents before it fires.
        in_place: True if nothing else reads its input, so that without gradients the spikes may take its memory;
            `fuse()` sets it behind the convolutions that it folds.
    """

    api_version: ClassVar[int]
    code: ClassVar[str] = UNARY
    options: ClassVar[frozenset[str]] = frozenset()
    prices: ClassVar[tuple[Price, ...]] = NEURON_PRICES
    waits: bool = False
    in_place: bool = False
    least_first: bool = False

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return the spikes of T timesteps of input current; equal inputs give equal outputs."""

    def places(self, timesteps: int) -> tuple[int, ...]:
        """Return what a spike of each timestep is worth beside the others; means over time are weighted by it."""
        if self.code != RADIX:
            return (1,) * timesteps
        digits = tuple(2**bit for bit in range(timesteps))
        return digits if self.least_first else digits[::-1]

    def largest(self, timesteps: int) -> int:
        """Return the largest number that its spikes write; by default a spike at every timestep."""
        return sum(self.places(timesteps))

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
