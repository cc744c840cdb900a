"""Decoding in one kernel a pass: a weighted sum over timesteps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, final

import torch
from torch import Tensor

from zoo.cpu.chunks import as_rows, empty_rows, inner_order

_BLOCK = 1024
"""Values of a program."""

DifferentiableBackward = Callable[[Tensor], Tensor]
"""The sum's gradient (N, …) → the spikes' (T, N, …), by differentiable operations."""


def fused_sum(
    spikes: Tensor,
    divisor: int,
    places: bool,
    differentiable_backward: DifferentiableBackward,
    block: int = _BLOCK,
) -> Tensor:
    """(1/divisor) Σ_t w_t S_t, w_t = 2^t with `places` and 1 without; summed in float32, T ≤ 24 of places exactly.

    Args:
        spikes: (T, N, …) for which `runs_fused_over_time` holds.
        divisor: what the sum is divided by, and correctly rounded; torch on a GPU multiplies by 1/divisor.
        places: whether timesteps are binary places, least significant first.
        differentiable_backward: takes over where gradients of gradients are asked for.
        block: values of a program, a power of two.

    Returns:
        (N, …), laid out as a timestep of spikes is.
    """
    return cast(Tensor, _FusedSum.apply(spikes, divisor, places, differentiable_backward, block))


@final
class _FusedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, spikes: Tensor, divisor: int, places: bool, again: DifferentiableBackward, block: int
    ) -> Tensor:
        from zoo.gpu.sum_kernels import decode

        ctx.timesteps, ctx.divisor, ctx.places, ctx.again, ctx.block = len(spikes), divisor, places, again, block
        order = inner_order(spikes)
        rows = as_rows(spikes, order)
        decoded = empty_rows(spikes[0], tuple(dimension - 1 for dimension in order[1:]))
        values = rows.shape[1]
        with torch.cuda.device_of(spikes):
            decode[(-(-values // block),)](
                rows,
                decoded,
                float(divisor),
                values,
                *rows.stride(),
                T=len(spikes),
                PLACES=places,
                BLOCK=block,
                enable_fp_fusion=False,
            )
        return decoded

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        if torch.is_grad_enabled():  # with create_graph=True
            return ctx.again(grad), None, None, None, None
        if not ctx.places:  # the same for every timestep: no memory but one of them
            return (grad / ctx.divisor).expand(ctx.timesteps, *grad.shape), None, None, None, None
        return _spread(grad, ctx.timesteps, ctx.divisor, ctx.block), None, None, None, None


def _spread(grad: Tensor, timesteps: int, divisor: int, block: int) -> Tensor:
    from zoo.gpu.sum_kernels import spread

    whole = grad.unsqueeze(0)
    order = inner_order(whole)
    rows = as_rows(whole, order)
    gradient = empty_rows(grad, tuple(dimension - 1 for dimension in order[1:]), timesteps)
    values = rows.shape[1]
    with torch.cuda.device_of(grad):
        spread[(-(-values // block),)](
            rows,
            gradient,
            float(divisor),
            values,
            values,
            rows.stride(1),
            T=timesteps,
            PLACES=True,
            BLOCK=block,
            enable_fp_fusion=False,
        )
    return gradient
