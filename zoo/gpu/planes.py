"""Range step and bit planes in one kernel, their gradient in two; the input alone is kept for the backward pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast, final

import torch
from torch import Tensor

from zoo.cpu.chunks import as_rows, empty_rows, inner_order

_BLOCK = 1024
"""Values of a program."""

STRAIGHT, SIGMOID, TANH, FOURIER = range(4)
"""Surrogates of the planes."""

_PLANES, _LEVELS = 8, 255
_FACTORS = {
    STRAIGHT: 1 / sum(4**k for k in range(_PLANES)),
    SIGMOID: -10 * math.pi * _LEVELS,
    TANH: -20 * math.pi * _LEVELS,
    FOURIER: -2.0 * _LEVELS,
}
"""What all planes of a surrogate are multiplied with."""


@final
class Coding(NamedTuple):
    """What a bit-plane encoder is: its surrogate, with γ (eq. 14) or without, its bounds and its definition."""

    wave: int
    scaled: bool
    bounds: Callable[[Tensor], tuple[Tensor, Tensor]]
    """Rows (N, values) → lo and hi, float32, each (N, 1)."""
    plain: Callable[[Tensor], Tensor]
    """x (N, …) → planes (8, N, …), differentiable any number of times."""


def fused_planes(x: Tensor, coding: Coding, block: int = _BLOCK) -> Tensor:
    """Bit planes of x̂, bit for bit as defined.

    Args:
        x: (N, C, …) for which `runs_fused` holds.
        coding: `plain` of it takes over where gradients of gradients are asked for.
        block: values of a program, a power of two.

    Returns:
        (8, N, C, …) in {0, 1}, each plane laid out as x is.
    """
    return cast(Tensor, _FusedPlanes.apply(x, coding, block))


@final
class _FusedPlanes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, coding: Coding, block: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.coding, ctx.block = coding, block
        return _encode(x, coding, block)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # with create_graph=True
            x = x if x.requires_grad else x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(ctx.coding.plain(x), x, grads[0], create_graph=True)
            return gradient, None, None
        return _contract(x, grads[0], ctx.coding, ctx.block), None, None


def _encode(x: Tensor, coding: Coding, block: int) -> Tensor:
    from zoo.gpu.plane_kernels import encode

    order = inner_order(x)
    rows, planes = as_rows(x, order), empty_rows(x, order, _PLANES)
    lo, hi = coding.bounds(rows)
    count, columns = rows.shape
    blocks = -(-columns // block)
    with torch.cuda.device_of(x):
        encode[(count * blocks,)](
            rows,
            lo,
            hi,
            planes,
            columns,
            blocks,
            count * columns,
            *rows.stride(),
            BLOCK=block,
            enable_fp_fusion=False,
        )
    return planes


def _contract(x: Tensor, grad: Tensor, coding: Coding, block: int) -> Tensor:
    from zoo.gpu.plane_kernels import add_at_bounds, contract

    order = inner_order(x)
    rows = as_rows(x, order)
    lo, hi = coding.bounds(rows)
    count, columns = rows.shape
    blocks = -(-columns // block)
    programs = count * blocks
    wide, narrow = empty_rows(x, order, dtype=torch.float32), empty_rows(x, order)
    sums = torch.empty((2, count, blocks), dtype=torch.float32, device=x.device)
    counts = torch.empty((2, count, blocks), dtype=torch.int32, device=x.device)
    grads = _plane_rows(grad, order)
    with torch.cuda.device_of(x):
        contract[(programs,)](
            rows,
            lo,
            hi,
            grads,
            wide,
            sums,
            counts,
            columns,
            blocks,
            programs,
            _FACTORS[coding.wave],
            *rows.stride(),
            *grads.stride(),
            WAVE=coding.wave,
            SCALED=coding.scaled,
            BLOCK=block,
        )
        shares = _shares(lo, hi, sums, counts)
        add_at_bounds[(programs,)](
            rows,
            lo,
            hi,
            *shares,
            wide,
            narrow,
            columns,
            blocks,
            *rows.stride(),
            BLOCK=block,
            enable_fp_fusion=False,
        )
    return narrow


def _plane_rows(planes: Tensor, order: tuple[int, ...]) -> Tensor:
    """(8, N, …) → (8, N, values), in the order of x in memory: a view where planes lie so."""
    shifted = planes.permute(0, *(1 + i for i in order))
    return shifted.flatten(2) if shifted.dim() > 2 else shifted.unsqueeze(2)


def _shares(lo: Tensor, hi: Tensor, sums: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """What every value at lo, and at hi, gets of that bound's gradient: Σ d (x̂ − 1) / s, and −Σ d x̂ / s, (N, 1).

    Equal values share it equally, as torch's amin and amax do; a bound that is 0 or 1 itself takes none.
    """
    arriving, weighted = sums.sum(2, keepdim=True, dtype=torch.float64)
    at_lo, at_hi = counts.sum(2, keepdim=True).clamp(min=1)
    of_lo = torch.where(lo < 0, (weighted - arriving) / at_lo, 0)
    of_hi = torch.where(hi > 1, -weighted / at_hi, 0)
    return of_lo.float(), of_hi.float()
