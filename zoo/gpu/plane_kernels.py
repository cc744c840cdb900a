"""Triton kernels of the eight bit planes: a program encodes a block of values of one sample, or takes their gradient.

Division is `div_rn`, as `/` errs by two units in the last place. Adding 1.5·2²³ rounds a float32 in [0, 255] to a
whole number, half to even, as torch.round does.

WAVE is the surrogate: 0 straight through, 1 sigmoid, 2 tanh, 3 Fourier (zoo/encoders/surrogates.py has their formulas).
"""

import triton
import triton.language as tl

PLANES = tl.constexpr(8)
LEVELS = tl.constexpr(255.0)
TO_WHOLE = tl.constexpr(12582912.0)
PI = tl.constexpr(3.141592653589793)


@triton.jit
def unit_of(x, lo, width):
    """x̂ of x."""
    return tl.math.div_rn(x - lo, width)


@triton.jit
def sine_of_turns(y):
    """sin 2πy for y in [−1/4, 1/4], to the last bit but one of float32: its Taylor series to the 11th power."""
    z = y * (2 * PI)
    square = z * z
    tail = (1.0 / 120.0) + square * (-1.0 / 5040.0 + square * (1.0 / 362880.0 + square * (-1.0 / 39916800.0)))
    return z + z * square * (-1.0 / 6.0 + square * tail)


@triton.jit
def bump(u):
    """σ(u)(1 − σ(u)) for u ≤ 0, where nothing cancels."""
    e = tl.exp(u)
    small = e / (1.0 + e)
    return small - small * small


@triton.jit
def slope(intensity, PLANE: tl.constexpr, WAVE: tl.constexpr):
    """2^k f_k′ but for the wave's own factor, of θ = πI / 2^k.

    θ is reduced in turns, before the multiplication by π, so that float32 stays exact. CUDA's own sine also reduces
    angles of any size: with it these kernels are ten times as long, and take half a minute to compile.
    """
    turns = intensity * ((128 >> PLANE) / 256.0)
    away = tl.abs(turns - ((turns + TO_WHOLE) - TO_WHOLE))  # |θ| / 2π, at most a half; c and |sin θ| are even
    c = sine_of_turns(0.25 - away)
    if WAVE == 1:
        found = bump(-10.0 * sine_of_turns(tl.minimum(away, 0.5 - away))) * c
    elif WAVE == 2:
        found = bump(-20.0 * sine_of_turns(tl.minimum(away, 0.5 - away))) * c
    else:
        u = c * c
        found = c * ((((256.0 * u - 512.0) * u + 336.0) * u - 80.0) * u + 5.0)
    return found


@triton.jit
def encode(
    x_ptr,
    lo_ptr,
    hi_ptr,
    planes_ptr,
    columns,
    blocks,
    plane_step,
    x_row,
    x_stride,
    BLOCK: tl.constexpr,
):
    """Planes (8, rows, columns) of x (rows, columns), each of whose rows is a sample."""
    row = (tl.program_id(0) // blocks).to(tl.int64)
    at = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = at < columns
    lo = tl.load(lo_ptr + row)
    width = tl.load(hi_ptr + row) - lo
    x = tl.load(x_ptr + row * x_row + at.to(tl.int64) * x_stride, mask=inside, other=0.0).to(tl.float32)
    level = ((unit_of(x, lo, width) * LEVELS + TO_WHOLE) - TO_WHOLE).to(tl.int32)
    planes_at = planes_ptr + row * columns + at
    for k in tl.static_range(PLANES):
        plane = ((level >> k) & 1).to(tl.float32)  # the interpreter knows no way from an integer to bfloat16
        tl.store(planes_at, plane.to(planes_ptr.dtype.element_ty), mask=inside)
        planes_at += plane_step


@triton.jit
def contract(
    x_ptr,
    lo_ptr,
    hi_ptr,
    grad_ptr,
    dx_ptr,
    sums_ptr,
    counts_ptr,
    columns,
    blocks,
    programs,
    factor,
    x_row,
    x_stride,
    grad_step,
    grad_row,
    grad_stride,
    WAVE: tl.constexpr,
    SCALED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """d / s (rows, columns) of d = ∂L/∂x̂ and s = hi − lo, float32; and of every program, for the bounds' gradients,

    Σ d / s and Σ x̂ d / s, and how many values lie at lo and at hi.
    """
    program = tl.program_id(0)
    row = (program // blocks).to(tl.int64)
    at = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = at < columns
    lo, hi = tl.load(lo_ptr + row), tl.load(hi_ptr + row)
    width = hi - lo
    x = tl.load(x_ptr + row * x_row + at.to(tl.int64) * x_stride, mask=inside, other=0.0).to(tl.float32)
    unit = unit_of(x, lo, width)
    intensity = unit * LEVELS
    total = tl.full([BLOCK], 0.0, tl.float32)
    grad_at = grad_ptr + row * grad_row + at.to(tl.int64) * grad_stride
    for k in tl.static_range(PLANES):
        if WAVE == 0:
            total += tl.load(grad_at, mask=inside, other=0.0).to(tl.float32) * (LEVELS * (1 << k))
        elif SCALED:
            if k > 0:  # γ_k / 2^k is k / 128
                arriving = tl.load(grad_at, mask=inside, other=0.0).to(tl.float32)
                total += arriving * (slope(intensity, k, WAVE) * (k / 128.0))
        else:
            arriving = tl.load(grad_at, mask=inside, other=0.0).to(tl.float32)
            total += arriving * (slope(intensity, k, WAVE) * ((128 >> k) / 128.0))
        grad_at += grad_step
    dx = tl.where(inside, tl.math.div_rn(total * factor, width), 0.0)
    tl.store(dx_ptr + row * columns + at, dx, mask=inside)
    tl.store(sums_ptr + program, tl.sum(dx, 0))
    tl.store(sums_ptr + programs + program, tl.sum(dx * tl.where(inside, unit, 0.0), 0))
    tl.store(counts_ptr + program, tl.sum((inside & (x == lo)).to(tl.int32), 0))
    tl.store(counts_ptr + programs + program, tl.sum((inside & (x == hi)).to(tl.int32), 0))


@triton.jit
def add_at_bounds(
    x_ptr,
    lo_ptr,
    hi_ptr,
    of_lo_ptr,
    of_hi_ptr,
    dx_ptr,
    narrow_ptr,
    columns,
    blocks,
    x_row,
    x_stride,
    BLOCK: tl.constexpr,
):
    """Add to dx what every value at a bound has of the bound's gradient, and write the sum in x's type."""
    row = (tl.program_id(0) // blocks).to(tl.int64)
    at = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    inside = at < columns
    x = tl.load(x_ptr + row * x_row + at.to(tl.int64) * x_stride, mask=inside, other=0.0).to(tl.float32)
    dx = tl.load(dx_ptr + row * columns + at, mask=inside, other=0.0)
    dx += tl.where(x == tl.load(lo_ptr + row), tl.load(of_lo_ptr + row), 0.0)
    dx += tl.where(x == tl.load(hi_ptr + row), tl.load(of_hi_ptr + row), 0.0)
    tl.store(narrow_ptr + row * columns + at, dx.to(narrow_ptr.dtype.element_ty), mask=inside)
