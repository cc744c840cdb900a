"""Decoders: spikes over time back to one real value (paper eq. 19 and 20)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import BINARY_LSB_FIRST
from zoo.contracts.price import SHIFTED_SUM
from zoo.cpu import functions
from zoo.cpu.functions import kernel_supports

_BITS = 8
_MAX_LEVEL = 255
_PLACES = tuple(2.0**k for k in range(_BITS))
_MOST_TIMESTEPS = 16
"""Of more, torch adds partial sums, which round otherwise than one sum does."""


def bit_plane_decode(spikes: Tensor) -> Tensor:
    """D(S) = (1/255) Σ_k 2^k S_k, eq. 20, least significant plane first. (8, N, C, …) → (N, C, …).

    Multiplied and summed, not contracted: the sum of exact products k is exact, and so is k/255.
    """
    if spikes.shape[0] == _BITS and kernel_supports(spikes):
        return functions.weighted_sum(spikes, _PLACES, _MAX_LEVEL)
    places = torch.tensor(_PLACES, dtype=spikes.dtype, device=spikes.device)
    return (spikes * places.reshape((_BITS,) + (1,) * (spikes.dim() - 1))).sum(0) / _MAX_LEVEL


def rate_decode(spikes: Tensor) -> Tensor:
    """D(S) = (1/T) Σ_t S_t, eq. 19, for any T. (T, N, C, …) → (N, C, …)."""
    if len(spikes) <= _MOST_TIMESTEPS and kernel_supports(spikes):
        return functions.weighted_sum(spikes, (1.0,) * len(spikes), len(spikes))
    return spikes.mean(0)


def weighted_mean(spikes: Tensor, places: Sequence[int]) -> Tensor:
    """Σ_t p_t S_t / Σ_t p_t for what a spike is worth at each timestep. (T, N, C, …) → (N, C, …)."""
    if len(set(places)) == 1:
        return rate_decode(spikes)
    if len(spikes) <= _MOST_TIMESTEPS and kernel_supports(spikes):
        return functions.weighted_sum(spikes, [float(place) for place in places], sum(places))
    weights = torch.tensor(places, dtype=spikes.dtype, device=spikes.device)
    return (spikes * weights.reshape(-1, *(1,) * (spikes.dim() - 1))).sum(0) / sum(places)


torch.fx.wrap("rate_decode")  # which takes it as one operation if it is called as `averages.rate_decode`


@final
class RateDecoder(Decoder):
    """The mean over timesteps (eq. 19); takes any code and any T."""

    api_version = 1
    codes = None
    timesteps = None
    prices = (SHIFTED_SUM,)

    def forward(self, spikes: Tensor) -> Tensor:
        return rate_decode(spikes)


@final
class DigitDecoder(Decoder):
    """The mean over timesteps weighted by the places of their digits; part of networks of such neurons."""

    api_version = 1
    codes = None
    prices = (SHIFTED_SUM,)

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__()
        self.places = tuple(places)

    @property
    def timesteps(self) -> int:  # type: ignore[override] # of the object, not of the class
        return len(self.places)

    def forward(self, spikes: Tensor) -> Tensor:
        return weighted_mean(spikes, self.places)


@final
class BitPlaneDecoder(Decoder):
    """The weighted sum of eight planes (eq. 20), the inverse of bit-plane encoding."""

    api_version = 1
    codes = frozenset({BINARY_LSB_FIRST})
    timesteps = _BITS
    prices = (SHIFTED_SUM,)

    def forward(self, spikes: Tensor) -> Tensor:
        return bit_plane_decode(spikes)
