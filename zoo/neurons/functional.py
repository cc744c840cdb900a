"""Integrate-and-fire dynamics with hard reset, as functions of the whole input sequence (paper eq. 22).

    h_t = charge(v_{t−1}, x_t);  s_t = Θ(h_t − θ);  v_t = h_t (1 − s_t);  v_{−1} = 0

with the arctan surrogate of Θ, derivative (α/2) / (1 + (πα/2 · x)²) at x = h_t − θ. Charges: IF h = v + x, LIF
h = v + (x − v) / τ, PLIF h = v + (x − v) σ(w). The reset is not detached from the gradient.

On the CPU these run in place, on a GPU by fused kernels, and keep the input alone for the backward pass; outputs are
bit-equal to spikingjelly's own nodes on the CPU.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, cast, final

import torch
from spikingjelly.activation_based import surrogate
from torch import Tensor

from zoo.contracts.precision import at_least_float32
from zoo.cpu.chunks import as_rows, column_parts, inner_order, is_transformed, rows_like, values_at_once
from zoo.gpu.neurons import Neuron, fused_spikes
from zoo.gpu.selection import runs_fused_over_time

# Kinds of charge: the gain multiplies (IF has none), or divides as LIF's τ does, to round as spikingjelly does.
_INTEGRATE, _DIVIDE, _MULTIPLY = 0, 1, 2

_threshold_backward = torch.ops.aten.threshold_backward.grad_input


def _charge(v: Tensor, x: Tensor, kind: int, gain: Tensor | float) -> Tensor:
    if kind == _INTEGRATE:
        return v + x
    return v + ((x - v) / gain if kind == _DIVIDE else (x - v) * gain)


def _charge_negated(out: Tensor, nv: Tensor, x: Tensor, kind: int, gain: float) -> None:
    """−h from −v, in place: negation is exact, and −h ≤ −θ clears a fired potential in one operation."""
    if kind == _INTEGRATE:
        torch.sub(nv, x, out=out)
        return
    current = nv + x
    current = current.div_(gain) if kind == _DIVIDE else current.mul_(gain)
    torch.sub(nv, current, out=out)


def plain_spikes(x: Tensor, kind: int, gain: Tensor | float, threshold: float, alpha: float) -> Tensor:
    """The definition, step by step, differentiable any number of times. (T, N, …) → (T, N, …)."""
    v = torch.zeros_like(x[0])
    spikes = []
    for current in x:
        h = _charge(v, current, kind, gain)
        spike = cast(Tensor, _Step.apply(h - threshold, alpha))
        spikes.append(spike)
        v = h * (1 - spike)
    return torch.stack(spikes)


@final
class _Step(surrogate.atan):
    """Θ with the arctan surrogate, under torch.func.vmap too."""

    generate_vmap_rule = True


@final
class _HardResetSpikes(torch.autograd.Function):
    """The same in place. Membrane potentials are float32 whatever the input's dtype is."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor | float, kind: int, threshold: float, alpha: float) -> Tensor:
        ctx.kind, ctx.threshold, ctx.alpha = kind, threshold, alpha
        if isinstance(gain, Tensor):
            ctx.save_for_backward(x, gain)
        else:
            ctx.save_for_backward(x)
            ctx.gain = gain
        return _fire(x, float(gain), kind, threshold)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None, None, None]:
        x, *rest = ctx.saved_tensors
        gain = rest[0] if rest else ctx.gain
        # With create_graph=True: gradients of gradients, by the definition.
        backward = _differentiable_backward if torch.is_grad_enabled() else _fast_backward
        dx, dgain = backward(x, gain, grads[0], ctx.kind, ctx.threshold, ctx.alpha)
        return dx, dgain, None, None, None


def _of_a_timestep() -> int:
    """Values of a timestep to walk at once."""
    return 3 * values_at_once() // 2


def _fire(x: Tensor, gain: float, kind: int, threshold: float) -> Tensor:
    """Spikes of x (T, N, …), chunk by chunk."""
    spikes, rows, spike_rows = rows_like(x)
    for inputs, outputs in column_parts(_of_a_timestep(), rows, spike_rows):
        _fire_chunk(inputs, outputs, gain, kind, threshold)
    return spikes


def _fire_chunk(x: Tensor, spikes: Tensor, gain: float, kind: int, threshold: float) -> None:
    """Fill `spikes` (T, n). Half precision is widened and narrowed once, and potentials take the place of inputs."""
    wide = x.float()
    nh = spikes if wide is x else wide
    _charge_all(wide, nh, gain, kind, threshold)
    nh.le_(-threshold)
    if nh is not spikes:
        spikes.copy_(nh)


def _charge_all(x: Tensor, nh: Tensor, gain: float, kind: int, threshold: float) -> None:
    """Fill −h of every timestep, (T, n); it may lie where x does."""
    nv, currents = x.new_zeros(()), x.unbind(0)
    potentials = currents if nh is x else nh.unbind(0)
    _charge_negated(potentials[0], nv, currents[0], kind, gain)
    for before, current, potential in zip(potentials, currents[1:], potentials[1:], strict=False):
        nv = torch.threshold(before, -threshold, 0.0)
        _charge_negated(potential, nv, current, kind, gain)


def _differentiable_backward(
    x: Tensor, gain: Tensor | float, grad: Tensor, kind: int, threshold: float, alpha: float
) -> tuple[Tensor, Tensor | None]:
    sources = [x, gain] if isinstance(gain, Tensor) and gain.requires_grad else [x]
    if not x.requires_grad:
        x = sources[0] = x.detach().requires_grad_()
    spikes = plain_spikes(x.float(), kind, gain, threshold, alpha)
    gradients = torch.autograd.grad(spikes, sources, grad.float(), create_graph=True)
    return gradients[0], gradients[1] if len(gradients) > 1 else None


def _fast_backward(
    x: Tensor, gain: Tensor | float, grad: Tensor, kind: int, threshold: float, alpha: float
) -> tuple[Tensor, Tensor | None]:
    """Backward through time, chunk by chunk."""
    scale, dgain = float(gain), 0.0
    dx, x_rows, dx_rows = rows_like(x)
    most = _of_a_timestep()
    parts = column_parts(most, x_rows, as_rows(grad, inner_order(x)), dx_rows)
    shape = len(x), min(most, x_rows.shape[1])
    slopes = torch.empty(shape, dtype=torch.float32)
    potentials = torch.empty_like(slopes) if x.dtype == torch.float32 else None
    for x_part, grad_part, dx_part in parts:
        wide, columns = x_part.float(), slice(x_part.shape[1])
        nh = wide if potentials is None else potentials[:, columns]
        _recompute(wide, nh, slopes[:, columns], scale, kind, threshold, alpha)
        dgain += _backward_chunk(x_part, grad_part.float(), dx_part, nh, slopes[:, columns], scale, kind, threshold)
    return dx, gain.new_tensor(dgain) if isinstance(gain, Tensor) else None


def _recompute(
    x: Tensor, nh: Tensor, inverse_slope: Tensor, gain: float, kind: int, threshold: float, alpha: float
) -> None:
    """Fill −h and 1/Θ′ = (1 + (πα/2 · (h − θ))²) · 2/α of every timestep, each (T, n)."""
    _charge_all(x, nh, gain, kind, threshold)
    torch.add(nh, threshold, out=inverse_slope)
    one = torch.tensor(2 / alpha, dtype=torch.float32)
    torch.addcmul(one, inverse_slope, inverse_slope, value=alpha * math.pi**2 / 2, out=inverse_slope)


def _backward_chunk(
    x: Tensor, grad: Tensor, dx: Tensor, nh: Tensor, inverse_slope: Tensor, gain: float, kind: int, threshold: float
) -> float:
    """Fill `dx` (T, n) from the last step to the first, and return ∂L/∂gain of a multiplying gain.

    ∂L/∂h = ∂L/∂s·Θ′ + ∂L/∂v·((1 − s) − h·Θ′). What is found takes the place of −h, or lies in `dx` at
    once where that can hold it.
    """
    gradient = dx if dx.dtype == torch.float32 else nh
    through_spike, alternating = torch.empty_like(nh[0]), torch.empty_like(nh[:2])
    potentials, targets = nh.unbind(0), gradient.unbind(0)
    steps = list(zip(grad.unbind(0), inverse_slope.unbind(0), potentials, targets, strict=True))
    carry, dgain = None, 0.0  # ∂L/∂v_t: nothing follows the last step
    for t in range(len(steps) - 1, -1, -1):
        arriving, divisor, potential, target = steps[t]
        dh = target if kind == _INTEGRATE else alternating[t % 2]  # the other one holds the carry
        if carry is None:
            torch.div(arriving, divisor, out=dh)
        else:
            torch.addcmul(arriving, carry, potential, out=through_spike)
            _threshold_backward(carry, potential, -threshold, grad_input=dh)
            dh.addcdiv_(through_spike, divisor)
        if kind == _INTEGRATE:
            carry = dh
            continue
        if kind == _MULTIPLY:
            before = torch.threshold(potentials[t - 1], -threshold, 0.0) if t else torch.zeros_like(dh)
            dgain += float((dh * (x[t] + before)).sum(dtype=torch.float64))
        current = torch.div(dh, gain, out=target) if kind == _DIVIDE else torch.mul(dh, gain, out=target)
        carry = dh.sub_(current)
    if gradient is not dx:
        dx.copy_(gradient)
    return dgain


def _spikes(x: Tensor, kind: int, gain: Tensor | float, threshold: float, alpha: float) -> Tensor:
    if x.numel() == 0:
        return torch.zeros_like(x) * x
    if runs_fused_over_time(x):
        neuron = Neuron(kind, threshold, alpha)
        again = partial(_differentiable_backward, kind=kind, threshold=threshold, alpha=alpha)
        return fused_spikes(x, gain, neuron, again)
    if x.dtype == torch.float64 or x.device.type != "cpu" or torch.compiler.is_compiling() or is_transformed(x):
        return plain_spikes(at_least_float32(x), kind, gain, threshold, alpha).to(x.dtype)
    if not torch.is_grad_enabled() and not torch.jit.is_tracing():  # type: ignore[attr-defined]
        return _fire(x, float(gain), kind, threshold)
    return cast(Tensor, _HardResetSpikes.apply(x, gain, kind, threshold, alpha))


def if_spikes(x: Tensor, threshold: float = 1.0, alpha: float = 2.0) -> Tensor:
    """Integrate and fire: h_t = v_{t−1} + x_t; s_t = Θ(h_t − θ); v_t = h_t (1 − s_t), eq. 22.

    Args:
        x: (T, N, …), input currents.
        threshold: θ.
        alpha: steepness of the arctan surrogate.

    Returns:
        (T, N, …) spikes in {0, 1}, x's dtype.
    """
    return _spikes(x, _INTEGRATE, 1.0, threshold, alpha)


def lif_spikes(x: Tensor, tau: float = 2.0, threshold: float = 1.0, alpha: float = 2.0) -> Tensor:
    """Leaky integrate and fire: h_t = v_{t−1} + (x_t − v_{t−1}) / τ; s, v as for IF.

    Args:
        x: (T, N, …), input currents.
        tau: membrane time constant in timesteps, over 1.
        threshold: θ.
        alpha: steepness of the arctan surrogate.

    Returns:
        (T, N, …) spikes in {0, 1}, x's dtype.
    """
    return _spikes(x, _DIVIDE, tau, threshold, alpha)


def plif_spikes(x: Tensor, w: Tensor, threshold: float = 1.0, alpha: float = 2.0) -> Tensor:
    """Parametric LIF: h_t = v_{t−1} + (x_t − v_{t−1}) σ(w), w learned (doi:10.1109/ICCV48922.2021.00266).

    Args:
        x: (T, N, …), input currents.
        w: scalar tensor; 1/σ(w) is the time constant.
        threshold: θ.
        alpha: steepness of the arctan surrogate.

    Returns:
        (T, N, …) spikes in {0, 1}, x's dtype.
    """
    return _spikes(x, _MULTIPLY, w.sigmoid(), threshold, alpha)
