"""Hard-reset neurons in one kernel a pass; the input alone is kept for the backward pass.

spikingjelly has Triton kernels of IF, LIF and PLIF too, and takes them by itself. These are the zoo's own because they
can be checked to the last bit without a GPU: the tests run them by Triton's interpreter, and compile them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast, final

import torch
from torch import Tensor

from zoo.cpu.chunks import as_rows, inner_order, rows_like

_BLOCK = 512
"""Values of a program: four for each of its 128 threads."""

_MULTIPLY = 2


@final
class Neuron(NamedTuple):
    """Which neuron: v += x (leak 0), v += (x − v) / gain (1) or v += (x − v) · gain (2)."""

    leak: int
    threshold: float
    alpha: float


DifferentiableBackward = Callable[[Tensor, "Tensor | float", Tensor], "tuple[Tensor, Tensor | None]"]
"""x, gain and the spikes' gradient → ∂L/∂x and ∂L/∂gain, by the definition, differentiable again."""


def fused_spikes(
    x: Tensor,
    gain: Tensor | float,
    neuron: Neuron,
    differentiable_backward: DifferentiableBackward,
    block: int = _BLOCK,
) -> Tensor:
    """Spikes of a neuron that starts from rest; reset to 0, not detached; arctan surrogate.

    Spikes are bit for bit those of the definition as the CPU computes it. torch itself divides by τ on a GPU by
    multiplying with 1/τ, which rounds otherwise unless τ is a power of two.

    Args:
        x: (T, N, …) for which `runs_fused_over_time` holds.
        gain: τ, or a scalar tensor that is learned; unused without a leak.
        neuron: its kind and constants.
        differentiable_backward: takes over where gradients of gradients are asked for.
        block: values of a program, a power of two.

    Returns:
        (T, N, …) spikes in {0, 1}, x's dtype.
    """
    return cast(Tensor, _FusedSpikes.apply(x, gain, neuron, differentiable_backward, block))


@final
class _FusedSpikes(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor | float, neuron: Neuron, again: DifferentiableBackward, block: int
    ) -> Tensor:
        ctx.neuron, ctx.again, ctx.block = neuron, again, block
        ctx.gain = None if isinstance(gain, Tensor) else gain
        ctx.save_for_backward(x, *([gain] if isinstance(gain, Tensor) else []))
        return _fire(x, gain, neuron, block)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, *rest = ctx.saved_tensors
        gain = rest[0] if rest else ctx.gain
        if torch.is_grad_enabled():  # with create_graph=True
            dx, dgain = ctx.again(x, gain, grads[0])
        else:
            dx, dgain = _backward(x, gain, grads[0], ctx.neuron, ctx.block)
        return dx, dgain, None, None, None


def _in_kernel(gain: Tensor | float, x: Tensor) -> Tensor | float:
    """A learned gain stays on the device: to read it here would wait for all that is queued there."""
    return gain.detach().to(x.device, torch.float32) if isinstance(gain, Tensor) else float(gain)


def _fire(x: Tensor, gain: Tensor | float, neuron: Neuron, block: int) -> Tensor:
    from zoo.gpu.neuron_kernels import fire

    spikes, rows, spike_rows = rows_like(x)
    values = rows.shape[1]
    with torch.cuda.device_of(x):
        fire[(-(-values // block),)](
            rows,
            spike_rows,
            _in_kernel(gain, x),
            neuron.threshold,
            values,
            *rows.stride(),
            spike_rows.stride(0),
            T=len(x),
            LEAK=neuron.leak,
            BLOCK=block,
            enable_fp_fusion=False,
        )
    return spikes


def _backward(
    x: Tensor, gain: Tensor | float, grad: Tensor, neuron: Neuron, block: int
) -> tuple[Tensor, Tensor | None]:
    from zoo.gpu.neuron_kernels import backward

    dx, rows, dx_rows = rows_like(x)
    grad_rows = as_rows(grad, inner_order(x))
    values = rows.shape[1]
    programs = -(-values // block)
    parts = torch.empty(programs if neuron.leak == _MULTIPLY else 1, dtype=torch.float32, device=x.device)
    with torch.cuda.device_of(x):
        backward[(programs,)](
            rows,
            grad_rows,
            dx_rows,
            parts,
            _in_kernel(gain, x),
            neuron.threshold,
            2 / neuron.alpha,
            neuron.alpha * math.pi**2 / 2,
            values,
            *rows.stride(),
            *grad_rows.stride(),
            dx_rows.stride(0),
            T=len(x),
            LEAK=neuron.leak,
            BLOCK=block,
            enable_fp_fusion=False,
        )
    if not isinstance(gain, Tensor):
        return dx, None
    return dx, parts.sum(dtype=torch.float64).to(gain.dtype).reshape(gain.shape)
