"""Contract of an encoder. Shapes: N batch, T timesteps, C channels; … any trailing dimensions, also none."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from zoo.contracts.price import ENCODER_PRICES, Price

BINARY_LSB_FIRST = "binary-lsb-first"
"""Code of bit planes: plane t is bit t of an integer, the least significant first."""

BINARY_MSB_FIRST = "binary-msb-first"
"""The same bits, the most significant first."""

CONSTANT = "constant"
"""No spikes: the real value itself, the same at every timestep."""

FRAMES = "frames"
"""No spikes either: the input has timesteps already, (N, T, C, H, W), and they are passed on."""


class Encoder(nn.Module, ABC):
    """Maps values (N, C, …) to planes (T, N, C, …) in {0, 1} of the input's dtype; real ones with code `CONSTANT`.

    With code `FRAMES` it maps real values (N, T, C, …) to (T, N, C, …).

    Attributes:
        code: of the planes, as decoders name it (`BINARY_LSB_FIRST`).
        differentiable: True if it has a gradient of the input's shape.
        options: keyword arguments of its constructor; none is required.
        repeatable: True if equal inputs give equal planes in training mode too, as they must in eval mode.
        prices: operations that it is charged with; by default the range step and a comparison in every timestep.
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
        """T, the number of planes."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Encode x; a sample's planes depend on that sample alone."""
