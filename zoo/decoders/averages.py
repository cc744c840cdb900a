"""Decoders: spikes over time back to one real value (paper eq. 19 and 20)."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from zoo.contracts.modules import Decoder

_BITS = 8
_MAX_LEVEL = 255


def rate_decode(spikes: Tensor) -> Tensor:
    """D(S) = (1/T) Σ_t S_t, eq. 19. (T, N, C, …) → (N, C, …)."""
    return spikes.mean(0)


def bit_plane_decode(spikes: Tensor) -> Tensor:
    """D(S) = (1/255) Σ_k 2^k S_k, eq. 20, least significant plane first. (8, N, C, …) → (N, C, …).

    Multiplied and summed, not contracted: the sum of exact products k is exact, and so is k/255.
    """
    weights = torch.tensor([2.0**k for k in range(_BITS)], dtype=spikes.dtype, device=spikes.device)
    return (spikes * weights.reshape((_BITS,) + (1,) * (spikes.dim() - 1))).sum(0) / _MAX_LEVEL


@final
class RateDecoder(Decoder):
    """The mean over timesteps (eq. 19); takes any code and any T."""

    api_version = 1
    codes = None
    timesteps = None

    def forward(self, spikes: Tensor) -> Tensor:
        return rate_decode(spikes)


@final
class BitPlaneDecoder(Decoder):
    """The weighted sum of eight planes (eq. 20), the inverse of bit-plane encoding."""

    api_version = 1
    codes = frozenset({"binary-lsb-first"})
    timesteps = _BITS

    def forward(self, spikes: Tensor) -> Tensor:
        return bit_plane_decode(spikes)
