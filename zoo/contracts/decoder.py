"""What a decoder must offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, final

from torch import Tensor, nn

from zoo.contracts.encoder import Encoder
from zoo.contracts.price import DECODER_PRICES, Price
from zoo.errors import CompositionError


class Decoder(nn.Module, ABC):
    """(T, N, C, …) → (N, C, …).

    Attributes:
        codes: the codes it can read; None for any.
        timesteps: the T it needs; None for any.
        options: names of the keyword arguments that its constructor takes; none is required.
        prices: what it is charged with; by default a multiplication for every spike.
    """

    api_version: ClassVar[int]
    codes: ClassVar[frozenset[str] | None]
    timesteps: ClassVar[int | None]
    options: ClassVar[frozenset[str]] = frozenset()
    prices: ClassVar[tuple[Price, ...]] = DECODER_PRICES

    @abstractmethod
    def forward(self, spikes: Tensor) -> Tensor:
        """Decode spikes."""

    @final
    def check(self, encoder: Encoder) -> None:
        """Raise `CompositionError` where this decoder cannot read what `encoder` emits."""
        if self.codes is not None and encoder.code not in self.codes:
            raise CompositionError(
                f"{type(self).__name__} reads the code {' or '.join(sorted(self.codes))}, but "
                f"{type(encoder).__name__} emits {encoder.code}; choose a decoder that reads it, such as 'rate'"
            )
        if self.timesteps is not None and encoder.timesteps != self.timesteps:
            raise CompositionError(
                f"{type(self).__name__} needs T = {self.timesteps}, but {type(encoder).__name__} "
                f"emits T = {encoder.timesteps}"
            )

    def extra_repr(self) -> str:
        codes = "any" if self.codes is None else sorted(self.codes)
        return f"codes={codes}, timesteps={self.timesteps or 'any'}"
