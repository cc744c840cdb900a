"""Range step and bit planes in one walk over chunks, forward and backward, for the CPU.

The same planes, bit for bit, as `bit_planes(unit_range(x))`; the same gradient up to rounding. It keeps x alone, and
makes nothing of the planes' size but the planes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, final

import torch
from torch import Tensor

from zoo.cpu.chunks import as_rows, chunks, empty_rows, inner_order, values_at_once
from zoo.encoders.ranges import LEVELS, bounds
from zoo.encoders.surrogates import PLANES

_ONES = {
    torch.float32: (torch.int32, 0x3F800000),
    torch.bfloat16: (torch.int16, 0x3F80),
    torch.float16: (torch.int16, 0x3C00),
}
"""What planes are written as, integers of their width, and 1.0 as such a one."""

Contraction = Callable[[Tensor, Tensor], Tensor]
"""x̂ (…) and the gradient that arrives at the planes (8, …), both float32 → ∂L/∂x̂ (…), a new tensor."""

PlainPlanes = Callable[[Tensor], Tensor]
"""The definition: x (N, C, …) → planes (8, N, C, …), differentiable any number of times."""


def in_place_planes(x: Tensor, contraction: Contraction, plain: PlainPlanes) -> Tensor:
    """Bit planes of x̂.

    Args:
        x: (N, C, …) for which `runs_in_place` holds.
        contraction: takes the planes' gradient to that of x̂.
        plain: takes over where gradients of gradients are asked for.

    Returns:
        (8, N, C, …) in {0, 1}, each plane laid out as x is.
    """
    return cast(Tensor, _InPlacePlanes.apply(x, contraction, plain))


@final
class _InPlacePlanes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, contraction: Contraction, plain: PlainPlanes) -> Tensor:
        ctx.save_for_backward(x)
        ctx.contraction, ctx.plain = contraction, plain
        order = inner_order(x)
        planes = empty_rows(x, order, PLANES)
        _fill_planes(as_rows(x, order).float(), _plane_rows(planes, order))
        return planes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        if torch.is_grad_enabled():  # with create_graph=True: gradients of gradients, by the definition
            x = x if x.requires_grad else x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(ctx.plain(x), x, grads[0], create_graph=True)
            return gradient, None, None
        order = inner_order(x)
        dx = empty_rows(x, order, dtype=torch.float32)
        _fill_gradient(as_rows(x, order).float(), _plane_rows(grads[0], order), as_rows(dx, order), ctx.contraction)
        return dx.to(x.dtype), None, None


def _plane_rows(planes: Tensor, order: tuple[int, ...]) -> Tensor:
    """(8, N, …) → (8, N, values), in the order of x in memory."""
    shifted = planes.permute(0, *(1 + i for i in order))
    return shifted.flatten(2) if shifted.dim() > 2 else shifted.unsqueeze(2)


def _fill_planes(x: Tensor, planes: Tensor) -> None:
    """x (N, values), float32 → planes (8, N, values), in place.

    Bit k of the level, times the bits of 1.0 shifted down by k, is the number 0 or 1: in each type at least seven
    zeros end the bits of 1.0. So nothing is converted but the level, once for all planes.
    """
    lo, hi = bounds(x)
    width = hi - lo
    integers, bits_of_one = _ONES[planes.dtype]
    target = planes.view(integers)
    plane = torch.arange(PLANES, dtype=integers).reshape(-1, 1, 1)
    bit, one = torch.bitwise_left_shift(1, plane), torch.bitwise_right_shift(bits_of_one, plane)
    for rows, columns in chunks(*x.shape):
        unit = x[rows, columns].sub(lo[rows]).div_(width[rows])
        levels = unit.mul_(LEVELS).round_().to(integers)
        torch.bitwise_and(levels, bit, out=target[:, rows, columns]).mul_(one)


def _fill_gradient(x: Tensor, grads: Tensor, dx: Tensor, contraction: Contraction) -> None:
    """∂L/∂x (N, values), in place, of float32 x; `grads` is the planes' (8, N, values).

    With s = hi − lo and d = ∂L/∂x̂: d / s, and through the bounds Σ d (x̂ − 1) / s and −Σ d x̂ / s.
    """
    lo, hi = bounds(x)
    width = hi - lo
    through_lo, through_hi = (torch.zeros(width.shape, dtype=torch.float64) for _ in range(2))
    for rows, columns in chunks(*x.shape):
        unit = x[rows, columns].sub(lo[rows]).div_(width[rows])
        arriving = contraction(unit, grads[:, rows, columns].float()).div_(width[rows])
        dx[rows, columns] = arriving
        weighted = unit.mul_(arriving).sum(1, keepdim=True)
        through_hi[rows] -= weighted
        through_lo[rows] += weighted - arriving.sum(1, keepdim=True)
    _add_at_extremes(x, dx, lo, torch.where(lo < 0, through_lo, 0))
    _add_at_extremes(x, dx, hi, torch.where(hi > 1, through_hi, 0))


def _add_at_extremes(x: Tensor, dx: Tensor, extreme: Tensor, gradient: Tensor) -> None:
    """Share a bound's gradient (N, 1) among the values that are the bound, equally, as torch's amin and amax do."""
    step = max(1, values_at_once() // x.shape[1])
    for rows in (slice(start, start + step) for start in range(0, len(x), step)):
        if gradient[rows].any():
            at = torch.eq(x[rows], extreme[rows], out=torch.empty_like(dx[rows]))
            count = at.sum(1, keepdim=True).clamp_(min=1)  # none where a row's bound is the constant
            dx[rows].addcmul_(at, (gradient[rows] / count).float())
