"""Contract of a decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, final

from torch import Tensor, nn

from zoo.contracts.encoder import Encoder
from zoo.contracts.neuron import RADIX, Neuron
from zoo.contracts.price import DECODER_PRICES, Price
from zoo.errors import CompositionError


class Decoder(nn.Module, ABC):
    """Maps spikes (T, N, C, …) to values (N, C, …).

    Attributes:
        codes: codes that it reads; None for any.
        timesteps: T that it needs; None for any.
        options: keyword arguments of its constructor; none is required.
        prices: operations that it is charged with; by default a multiplication for every spike.
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
    def check(self, encoder: Encoder, neuron: nn.Module | None = None) -> None:
        """Raise `CompositionError` if this decoder cannot read the code or the T of `encoder`, or `neuron`'s digits."""
        if self.codes is not None and encoder.code not in self.codes:
            raise CompositionError(
                f"{type(self).__name__} reads the code {' or '.join(sorted(self.codes))}, but "
                f"{type(encoder).__name__} emits {encoder.code}; choose a decoder that reads it, such as 'rate'"
            )
        if isinstance(neuron, Neuron) and neuron.code == RADIX and self.codes is None:
            raise CompositionError(
                f"{type(neuron).__name__} writes digits, which {type(self).__name__} reads as if they were worth the "
                "same; choose a decoder of digits, such as 'bpd'"
            )
        if self.timesteps is not None and encoder.timesteps != self.timesteps:
            raise CompositionError(
                f"{type(self).__name__} needs T = {self.timesteps}, but {type(encoder).__name__} "
                f"emits T = {encoder.timesteps}; choose an encoder with T = {self.timesteps}"
            )
