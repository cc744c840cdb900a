"""Decoders: spikes over time back to one real value (paper eq. 19 and 20)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, final

import torch
from torch import Tensor

from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import BINARY_LSB_FIRST
from zoo.contracts.price import SHIFTED_SUM
from zoo.cpu.chunks import as_rows, column_parts, empty_rows, inner_order, runs_in_place, values_at_once
from zoo.gpu.selection import runs_fused_over_time
from zoo.gpu.sums import fused_sum

_BITS = 8
_MAX_LEVEL = 255
_PLACES = tuple(2.0**k for k in range(_BITS))


def rate_decode(spikes: Tensor) -> Tensor:
    """D(S) = (1/T) Σ_t S_t, eq. 19. (T, N, C, …) → (N, C, …)."""
    if runs_fused_over_time(spikes):
        return _fused(spikes, (1.0,) * len(spikes), len(spikes), places=False)
    if not runs_in_place(spikes):
        return spikes.mean(0)
    return cast(Tensor, _WeightedSum.apply(spikes, (1.0,) * len(spikes), len(spikes)))


def bit_plane_decode(spikes: Tensor) -> Tensor:
    """D(S) = (1/255) Σ_k 2^k S_k, eq. 20, least significant plane first. (8, N, C, …) → (N, C, …).

    Multiplied and summed, not contracted: the sum of exact products k is exact, and so is k/255.
    """
    if runs_fused_over_time(spikes):
        return _fused(spikes, _PLACES, _MAX_LEVEL, places=True)
    if not runs_in_place(spikes):
        return (spikes * _over_time(_PLACES, spikes)).sum(0) / _MAX_LEVEL
    return cast(Tensor, _WeightedSum.apply(spikes, _PLACES, _MAX_LEVEL))


def _over_time(weights: Sequence[float], spikes: Tensor) -> Tensor:
    """One weight a timestep, (T, 1, …)."""
    column = torch.tensor(weights, dtype=spikes.dtype, device=spikes.device)
    return column.reshape((len(weights),) + (1,) * (spikes.dim() - 1))


def _fused(spikes: Tensor, weights: tuple[float, ...], divisor: int, *, places: bool) -> Tensor:
    return fused_sum(spikes, divisor, places, lambda grad: _gradient(grad, weights, divisor))


def _gradient(grad: Tensor, weights: tuple[float, ...], divisor: int) -> Tensor:
    """(N, …) → (T, N, …), by differentiable operations."""
    every = (grad / divisor).unsqueeze(0)
    return every * _over_time(weights, every)


@final
class _WeightedSum(torch.autograd.Function):
    """(1/divisor) Σ_t w_t S_t for the CPU, chunk by chunk; the result lies in memory as a timestep of spikes does."""

    @staticmethod
    def forward(ctx: Any, spikes: Tensor, weights: tuple[float, ...], divisor: int) -> Tensor:
        ctx.weights, ctx.divisor = weights, divisor
        order = inner_order(spikes)
        decoded = empty_rows(spikes[0], tuple(dimension - 1 for dimension in order[1:]))
        rows, out = as_rows(spikes, order), as_rows(decoded.unsqueeze(0), order)[0]
        scale = torch.tensor(weights, dtype=torch.float32).unsqueeze(1)
        for planes, part in column_parts(values_at_once(), rows, out):
            # Half precision is summed in float32 and rounded once, as torch does it itself, but slowly.
            wide = planes.float()
            weighted = wide * scale if wide is planes else wide.mul_(scale)
            torch.div(weighted.sum(0).to(spikes.dtype), divisor, out=part)
        return decoded

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _gradient(grads[0], ctx.weights, ctx.divisor), None, None


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
class BitPlaneDecoder(Decoder):
    """The weighted sum of eight planes (eq. 20), the inverse of bit-plane encoding."""

    api_version = 1
    codes = frozenset({BINARY_LSB_FIRST})
    timesteps = _BITS
    prices = (SHIFTED_SUM,)

    def forward(self, spikes: Tensor) -> Tensor:
        return bit_plane_decode(spikes)
