"""Triton kernels of a whole sequence of a neuron: a program walks a block of values through all T timesteps.

Potentials are float32 in registers. Division is `div_rn`, as `/` errs by two units in the last place; the launchers
forbid fused multiply-adds, so that spikes come out bit for bit as the definition's.

LEAK is the kind of charge: 0 none, 1 divided by τ, 2 multiplied by a gain that lies in memory.
"""

import triton
import triton.language as tl


@triton.jit
def charge(v, x, factor, LEAK: tl.constexpr):
    """h of v and the current x."""
    if LEAK == 0:
        h = v + x
    elif LEAK == 1:
        h = v + tl.math.div_rn(x - v, factor)
    else:
        h = v + (x - v) * factor
    return h


@triton.jit
def factor_of(gain, BLOCK: tl.constexpr, LEAK: tl.constexpr):
    """τ or the gain, once for every value of a block."""
    if LEAK == 2:  # noqa: SIM108 # a conditional expression would compile both
        factor = tl.load(gain).to(tl.float32)
    else:
        factor = gain
    return tl.full([BLOCK], 1.0, tl.float32) * factor


@triton.jit
def fire(
    x_ptr,
    spikes_ptr,
    gain,
    threshold,
    values,
    x_step,
    x_stride,
    spikes_step,
    T: tl.constexpr,
    LEAK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Spikes (T, values) of x; `_step` is from timestep to timestep, `_stride` from value to value."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < values
    factor = factor_of(gain, BLOCK, LEAK)
    v = tl.full([BLOCK], 0.0, tl.float32)
    x_at, spikes_at = x_ptr + at * x_stride, spikes_ptr + at
    for _ in tl.static_range(T):
        h = charge(v, tl.load(x_at, mask=inside, other=0.0).to(tl.float32), factor, LEAK)
        fired = h >= threshold
        tl.store(spikes_at, tl.where(fired, 1.0, 0.0).to(spikes_ptr.dtype.element_ty), mask=inside)
        v = tl.where(fired, 0.0, h)
        x_at += x_step
        spikes_at += spikes_step


@triton.jit
def backward(
    x_ptr,
    grad_ptr,
    dx_ptr,
    dgain_ptr,
    gain,
    threshold,
    flattest,
    steepness,
    values,
    x_step,
    x_stride,
    grad_step,
    grad_stride,
    dx_step,
    T: tl.constexpr,
    LEAK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """∂L/∂x (T, values), and of LEAK 2 each block's part of ∂L/∂gain; potentials are made anew.

    1/Θ′ = flattest + steepness·(h − θ)², and ∂L/∂h = (∂L/∂s − ∂L/∂v·h)·Θ′ + ∂L/∂v·(1 − s).
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < values
    factor = factor_of(gain, BLOCK, LEAK)
    v = tl.full([BLOCK], 0.0, tl.float32)
    x_at, grad_at, dx_at = x_ptr + at * x_stride, grad_ptr + at * grad_stride, dx_ptr + at
    potentials = ()
    for _ in tl.static_range(T):
        h = charge(v, tl.load(x_at, mask=inside, other=0.0).to(tl.float32), factor, LEAK)
        potentials = potentials + (h,)  # noqa: RUF005 # Triton's tuples have no unpacking
        v = tl.where(h >= threshold, 0.0, h)
        x_at += x_step
        grad_at += grad_step
        dx_at += dx_step
    carry = tl.full([BLOCK], 0.0, tl.float32)
    dgain = tl.full([BLOCK], 0.0, tl.float32)
    for t in tl.static_range(T - 1, -1, -1):
        x_at -= x_step
        grad_at -= grad_step
        dx_at -= dx_step
        h = potentials[t]
        over = h - threshold
        through_spike = tl.load(grad_at, mask=inside, other=0.0).to(tl.float32) - carry * h
        slope = flattest + steepness * (over * over)
        dh = tl.where(h >= threshold, 0.0, carry) + tl.math.div_rn(through_spike, slope)
        if LEAK == 0:
            dx = dh
            carry = dh
        elif LEAK == 1:
            dx = tl.math.div_rn(dh, factor)
            carry = dh - dx
        else:
            if t > 0:
                before = potentials[t - 1]
                before = tl.where(before >= threshold, 0.0, before)
            else:
                before = tl.full([BLOCK], 0.0, tl.float32)
            x = tl.load(x_at, mask=inside, other=0.0).to(tl.float32)
            dgain += dh * (x - before)
            dx = dh * factor
            carry = dh - dx
        tl.store(dx_at, dx.to(dx_ptr.dtype.element_ty), mask=inside)
    if LEAK == 2:
        tl.store(dgain_ptr + tl.program_id(0), tl.sum(tl.where(inside, dgain, 0.0), 0))
