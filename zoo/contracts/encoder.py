"""What an encoder must offer. Shapes: N batch, T timesteps, C channels; … any trailing dimensions, also none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from zoo.contracts.price import ENCODER_PRICES, Price

BINARY_LSB_FIRST = "binary-lsb-first"
"""The code of bit planes: plane t is bit t of an integer, the least significant first."""

BINARY_MSB_FIRST = "binary-msb-first"
"""The same bits, the most significant first."""

CONSTANT = "constant"
"""No spikes: the real value itself, the same at every timestep."""


class Encoder(nn.Module, ABC):
    """(N, C, …) real → (T, N, C, …) in {0, 1}, of the input's dtype; with the code `CONSTANT`, real values.

    Attributes:
        code: what the planes mean, in the words that decoders name (`BINARY_LSB_FIRST`).
        differentiable: whether a gradient of the input's shape comes back.
        options: names of the keyword arguments that its constructor takes; none is required.
        repeatable: whether the same x gives the same planes in training mode too, bit for bit, as it has to in eval
            mode.
        prices: what it is charged with; by default the range step, and a comparison in every timestep.
    """

    api_version: ClassVar[int]
    code: ClassVar[str]
    differentiable: ClassVar[bool]
    options: ClassVar[frozenset[str]] = frozenset()
    repeatable: ClassVar[bool] = False
    prices: ClassVar[tuple[Price, ...]] = ENCODER_PRICES

    @property
    @abstractmethod
    def timesteps(self) -> int:
        """T, the number of planes that `forward` emits."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Encode x; a sample's planes depend on that sample alone."""

    def extra_repr(self) -> str:
        return f"code={self.code!r}, timesteps={self.timesteps}, differentiable={self.differentiable}"
