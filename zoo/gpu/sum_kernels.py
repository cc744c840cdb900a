"""Triton kernels of a weighted sum over time, and of its gradient."""

import triton
import triton.language as tl


@triton.jit
def decode(
    spikes_ptr,
    out_ptr,
    divisor,
    values,
    step,
    stride,
    T: tl.constexpr,
    PLACES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """(1/divisor) Σ_t w_t S_t (values,) of spikes (T, values); w_t is 2^t with PLACES, and 1 without."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < values
    total = tl.full([BLOCK], 0.0, tl.float32)
    spikes_at = spikes_ptr + at * stride
    for t in tl.static_range(T):
        spikes = tl.load(spikes_at, mask=inside, other=0.0).to(tl.float32)
        if PLACES:
            spikes *= 1 << t
        total += spikes
        spikes_at += step
    # Rounded to the type before the division, as torch does it.
    total = total.to(out_ptr.dtype.element_ty).to(tl.float32)
    decoded = tl.math.div_rn(total, tl.full([BLOCK], 1.0, tl.float32) * divisor)
    tl.store(out_ptr + at, decoded.to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def spread(
    grad_ptr,
    out_ptr,
    divisor,
    values,
    step,
    stride,
    T: tl.constexpr,
    PLACES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """w_t · grad / divisor (T, values) of grad (values,)."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < values
    grad = tl.load(grad_ptr + at * stride, mask=inside, other=0.0).to(tl.float32)
    grad = tl.math.div_rn(grad, tl.full([BLOCK], 1.0, tl.float32) * divisor)
    grad = grad.to(out_ptr.dtype.element_ty).to(tl.float32)
    out_at = out_ptr + at
    for t in tl.static_range(T):
        weighted = grad
        if PLACES:
            weighted = grad * (1 << t)
        tl.store(out_at, weighted.to(out_ptr.dtype.element_ty), mask=inside)
        out_at += step
