"""The kernels as differentiable functions of tensors, and the check of when they serve.

They compute what the definitions in zoo.encoders, zoo.neurons and zoo.decoders compute. The definitions run everywhere
else: without a compiled library, on a GPU, in float64, under the transforms of torch.func, and while torch compiles,
exports or traces.

Each takes what its definition takes, for tensors that `kernel_supports` accepts, and returns the same: forward bit for
bit, gradients within rounding. It keeps its input alone for the backward pass. Gradients of gradients are the
definition's, which each function takes as its last argument.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple, cast, final

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual
from torch.compiler import is_compiling
from torch.jit import is_tracing  # type: ignore[attr-defined]

from zoo.cpu.library import NeuronSettings, Window, library
from zoo.cpu.private import is_transformed

TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
"""Types that the kernels read, as they number them."""

_PLAIN = frozenset({Tensor, nn.Parameter})

MOST_TIMESTEPS = 32
"""A backward pass holds every timestep of a block."""

PLANES = 8

_counting: ContextVar[Callable[[], bool] | None] = ContextVar("counting", default=None)
"""While operations are counted: says whether kernels may run nevertheless."""

_WORTH_THREADS = 1 << 15
"""Values from which several threads are worth their start."""

_NO_MEMORY, _NOT_FINITE = 1, 2
"""What kernels return besides 0."""

Definition = Callable[..., Tensor]
"""The computation that a kernel replaces: the same tensors in, differentiable any number of times."""


def at_least_float32(x: Tensor) -> Tensor:
    """Widen x to float32 if it is narrower, as kernels and definitions do with intensities and potentials.

    In bfloat16 255·x would be rounded twice, in float16 a range could overflow, and in both a small current would
    not add to a potential.
    """
    return x if x.dtype == torch.float64 else x.float()


def kernel_supports(x: Tensor, *scalars: Tensor | None) -> bool:
    """True if there are compiled kernels, x is a tensor that they read, and learned scalars are float32."""
    learned = all(number is None or (number.dtype == torch.float32 and not has_tangent(number)) for number in scalars)
    return learned and is_plain(x) and library() is not None


def is_plain(x: Tensor) -> bool:
    """True if x is a plain, non-empty CPU tensor of a type that the kernels read, outside tracing and transforms.

    With torch's negative bit the memory of x holds −x, so it is not plain.
    """
    return (
        type(x) in _PLAIN
        and x.dtype in TYPES
        and x.is_cpu
        and not is_compiling()
        and x.numel() > 0
        and not x.is_neg()
        and not is_tracing()
        and not is_transformed(x)
        and not has_tangent(x)
        and _kernels_may_run()
    )


def _kernels_may_run() -> bool:
    may_run = _counting.get()
    return may_run is None or may_run()


def has_tangent(x: Tensor) -> bool:
    """True in forward-mode differentiation, which no kernel knows."""
    return unpack_dual(x).tangent is not None


@contextmanager
def only_definitions(unless: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Switch the kernels off within the block, so that torch sees every operation that it is to count.

    Args:
        unless: says whether what runs now is not counted, so that kernels may run.
    """
    token = _counting.set(unless)
    try:
        yield
    finally:
        _counting.reset(token)


def operations_are_counted() -> bool:
    """True while tracing, which counts operations, and within `only_definitions`; False in compiled code."""
    if is_compiling():  # which can't read a ContextVar
        return False
    return is_tracing() or _counting.get() is not None


def call(name: str, work: int, *arguments: object) -> bool:
    """Run a kernel over `work` values, on torch's threads if they are worth it.

    Returns:
        False if it met what is not finite and has no result: the definition says what becomes of that.

    Raises:
        MemoryError: no memory was left for scratch.
    """
    threads = torch.get_num_threads() if work >= _WORTH_THREADS else 1
    status = getattr(library(), name)(*arguments, threads)
    if status == _NO_MEMORY:
        raise MemoryError(f"no memory is left for the scratch of {name}")
    return bool(status != _NOT_FINITE)


@lru_cache(4096)
def _lies_in_rows(shape: torch.Size, strides: tuple[int, ...]) -> bool:
    """True if each x[i] is a block of memory without gaps, one behind the other."""
    block = 1
    for stride, size in sorted(zip(strides[1:], shape[1:], strict=True)):
        if stride != block and size > 1:
            return False
        block *= size
    return shape[0] == 1 or strides[0] == block


def _rows(x: Tensor) -> Tensor:
    """Copy x unless it is row-contiguous."""
    return x if _lies_in_rows(x.shape, x.stride()) else x.contiguous()


def _kernel_goes_backward(grad: Tensor) -> bool:
    """True if the gradient is neither batched, nor to be differentiated again, nor has torch's negative bit."""
    return not torch.is_grad_enabled() and not is_transformed(grad) and not grad.is_neg()


def _differentiate(definition: Definition, sources: Sequence[Tensor | None], grad: Tensor) -> list[Tensor | None]:
    """Gradients of the definition, differentiable if gradients are recorded; None for a source of None."""
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = [x if x is None or x.requires_grad else x.detach().requires_grad_() for x in sources]
        present = [x for x in inputs if x is not None]
        result = definition(*inputs)
        gradients = torch.autograd.grad(result, present, grad, create_graph=create_graph, allow_unused=True)
    remaining = iter(gradients)
    return [None if x is None else next(remaining) for x in inputs]


# Encoders -------------------------------------------------------------------------------------------------------------

STRAIGHT, SIGMOID, TANH, FOURIER, NUMBER = range(5)


@final
class Surrogate(NamedTuple):
    """The gradient of bit planes: which wave, and with γ (eq. 14) or without."""

    wave: int
    scaled: bool = False


def planes(x: Tensor, surrogate: Surrogate, definition: Definition) -> Tensor:
    """Range step and bit planes: (N, …) → (8, N, …) in {0, 1}, each plane laid out as x is.

    With the wave `NUMBER` the number that they stand for, (N, …) → (N, …) in [0, 1].
    """
    if not torch.is_grad_enabled():
        return _planes(x, surrogate)[0]
    return cast(Tensor, _Planes.apply(x, surrogate, definition))


def _planes(x: Tensor, surrogate: Surrogate) -> tuple[Tensor, Tensor]:
    """Planes or numbers, and lo and hi of every sample."""
    rows, number = _rows(x), surrogate.wave == NUMBER
    samples, values = x.shape[0], x.numel() // x.shape[0]
    shape, strides = ((), ()) if number else ((PLANES,), (x.numel(),))
    bits = torch.empty_strided((*shape, *x.shape), (*strides, *rows.stride()), dtype=x.dtype)
    ranges, sizes = torch.empty(samples, 2), (TYPES[x.dtype], samples, values)
    call("zoo_planes", x.numel(), rows.data_ptr(), *sizes, int(number), bits.data_ptr(), ranges.data_ptr())
    return bits, ranges


@final
class _Planes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, surrogate: Surrogate, definition: Definition) -> Tensor:
        bits, ctx.ranges = _planes(x, surrogate)
        ctx.save_for_backward(x)
        ctx.surrogate, ctx.definition = surrogate, definition
        return bits

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        (x,) = ctx.saved_tensors
        if not _kernel_goes_backward(grads[0]):
            return _differentiate(ctx.definition, [x], grads[0])[0], None, None
        rows = _rows(x)
        samples, values = x.shape[0], x.numel() // x.shape[0]
        strides = (x.numel(), *rows.stride())
        grad = grads[0].expand(1, *x.shape) if ctx.surrogate.wave == NUMBER else grads[0]
        if grad.dtype != x.dtype or grad.stride()[1:] != strides[1:] or grad.stride(0) < 0:
            grad = torch.empty_strided(grad.shape, strides, dtype=x.dtype).copy_(grad)
        dx = torch.empty_strided(x.shape, rows.stride(), dtype=x.dtype)
        wave, scaled = ctx.surrogate
        arguments = rows.data_ptr(), TYPES[x.dtype], samples, values, wave, int(scaled), ctx.ranges.data_ptr()
        if not call("zoo_planes_backward", x.numel(), *arguments, grad.data_ptr(), grad.stride(0), dx.data_ptr()):
            return _differentiate(ctx.definition, [x], grads[0])[0], None, None
        return dx, None, None


# Neurons --------------------------------------------------------------------------------------------------------------

INTEGRATE, DIVIDE, MULTIPLY = range(3)


def fire(
    x: Tensor,
    gain: Tensor | None,
    scale: Tensor | None,
    settings: NeuronSettings,
    definition: Definition,
    in_place: bool = False,
) -> Tensor:
    """Spikes of currents: (T, N, …) → (T, N, …) in {0, 1}, or in {0, scale} of x / scale.

    A learned gain and scale are scalars whose values are those of `settings`. `in_place` writes the spikes over x if
    there are no gradients: a third of the time, since no other memory is touched.
    """
    if not torch.is_grad_enabled():
        return _fire(x, settings, in_place)
    return cast(Tensor, _Fire.apply(x, gain, scale, settings, definition))


def _timesteps(x: Tensor) -> tuple[Tensor, tuple[int, ...], int]:
    """Currents as the kernels read them, the strides of a dense tensor laid out alike, and the first stride of x."""
    values = x.numel() // x.shape[0]
    if x.stride(0) == 0 and _lies_in_rows(x.shape[1:], x.stride()[1:]):  # one current for all timesteps
        return x, (values, *x.stride()[1:]), 0
    rows = _rows(x)
    return rows, rows.stride(), values


def _fire(x: Tensor, settings: NeuronSettings, in_place: bool = False) -> Tensor:
    rows, strides, stride = _timesteps(x)
    spikes = rows if in_place and stride else torch.empty_strided(x.shape, strides, dtype=x.dtype)
    sizes = x.shape[0], x.numel() // x.shape[0], stride
    call("zoo_fire", x.numel(), rows.data_ptr(), TYPES[x.dtype], *sizes, settings, spikes.data_ptr())
    return spikes


@final
class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gain: Tensor | None,
        scale: Tensor | None,
        settings: NeuronSettings,
        definition: Definition,
    ) -> Tensor:
        ctx.save_for_backward(x, gain, scale)
        ctx.settings, ctx.definition = settings, definition
        return _fire(x, settings)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, scale = ctx.saved_tensors
        if not _kernel_goes_backward(grads[0]):
            return *_differentiate(ctx.definition, [x, gain, scale], grads[0]), None, None
        rows, strides, stride = _timesteps(x)
        dx = torch.empty_strided(x.shape, strides, dtype=x.dtype)
        grad = grads[0]
        if grad.dtype != x.dtype or grad.stride() != strides:
            grad = torch.empty_like(dx).copy_(grad)
        sizes = x.shape[0], x.numel() // x.shape[0], stride
        learned = (ctypes.c_double * 2)()
        outputs = dx.data_ptr(), int(scale is not None), learned
        currents = rows.data_ptr(), TYPES[x.dtype]
        call("zoo_fire_backward", x.numel(), *currents, *sizes, ctx.settings, grad.data_ptr(), *outputs)
        dgain = None if gain is None else gain.new_tensor(learned[0])
        dscale = None if scale is None else scale.new_tensor(learned[1])
        return dx, dgain, dscale, None, None


# Quantised ReLU -------------------------------------------------------------------------------------------------------


def quantise(x: Tensor, scale: Tensor, levels: int, definition: Definition) -> Tensor:
    """The nearest of L + 1 levels from 0 to a scale, which is learned: (N, …) → (N, …), laid out as x is."""
    if not torch.is_grad_enabled():
        return _quantise(x, scale, levels)
    return cast(Tensor, _Quantise.apply(x, scale, levels, definition))


def _quantise(x: Tensor, scale: Tensor, levels: int) -> Tensor:
    rows = _rows(x[None])[0]
    out = torch.empty_like(rows)
    call("zoo_quantise", x.numel(), rows.data_ptr(), TYPES[x.dtype], x.numel(), float(scale), levels, out.data_ptr())
    return out


@final
class _Quantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, levels: int, definition: Definition) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.levels, ctx.definition = levels, definition
        return _quantise(x, scale, levels)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, scale = ctx.saved_tensors
        if not _kernel_goes_backward(grads[0]):
            return *_differentiate(ctx.definition, [x, scale], grads[0]), None, None
        rows = _rows(x[None])[0]
        dx, dscale = torch.empty_like(rows), (ctypes.c_double * 1)()
        grad = grads[0]
        if grad.dtype != x.dtype or grad.stride() != dx.stride():
            grad = torch.empty_like(dx).copy_(grad)
        settings = rows.data_ptr(), TYPES[x.dtype], x.numel(), float(scale), ctx.levels
        call("zoo_quantise_backward", x.numel(), *settings, grad.data_ptr(), dx.data_ptr(), dscale)
        return dx, scale.new_tensor(dscale[0]), None, None


# Digits ---------------------------------------------------------------------------------------------------------------


def digits(x: Tensor, places: Sequence[int], levels: int) -> Tensor:
    """Digits of the level nearest to Σ_t p_t x_t, without gradients: (T, N, …) → (T, N, …) in {0, 1}."""
    rows, strides, stride = _timesteps(x)
    out = torch.empty_strided(x.shape, strides, dtype=x.dtype)
    sizes = x.shape[0], x.numel() // x.shape[0], stride
    number = _floats(tuple(places)), float(levels)
    call("zoo_digits", x.numel(), rows.data_ptr(), TYPES[x.dtype], *sizes, *number, out.data_ptr())
    return out


# Sums over time -------------------------------------------------------------------------------------------------------


def weighted_sum(spikes: Tensor, weights: Sequence[float], divisor: int) -> Tensor:
    """(1/divisor) Σ_t w_t S_t: (T, N, …) → (N, …), laid out as a timestep of spikes is."""
    if not torch.is_grad_enabled():
        return _weighted_sum(spikes, weights, divisor)
    return cast(Tensor, _WeightedSum.apply(spikes, weights, divisor))


@lru_cache
def _floats(values: tuple[float, ...]) -> ctypes.Array[ctypes.c_float]:
    return (ctypes.c_float * len(values))(*values)


def _weighted_sum(spikes: Tensor, weights: Sequence[float], divisor: int) -> Tensor:
    rows = _rows(spikes)
    out = torch.empty_strided(spikes.shape[1:], rows.stride()[1:], dtype=spikes.dtype)
    steps, values = spikes.shape[0], out.numel()
    arguments = rows.data_ptr(), TYPES[spikes.dtype], steps, values, _floats(tuple(weights)), float(divisor)
    call("zoo_sum", spikes.numel(), *arguments, out.data_ptr())
    return out


@final
class _WeightedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, spikes: Tensor, weights: Sequence[float], divisor: int) -> Tensor:
        ctx.weights, ctx.divisor = weights, divisor
        return _weighted_sum(spikes, weights, divisor)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        every = (grads[0] / ctx.divisor).unsqueeze(0)
        column = torch.tensor(ctx.weights, dtype=every.dtype).reshape((-1,) + (1,) * (every.dim() - 1))
        return every * column, None, None


# Pooling --------------------------------------------------------------------------------------------------------------


def can_pool(pool: nn.AvgPool2d, x: Tensor) -> bool:
    """True if `average_pool` computes what the module does to (T, N, C, H, W): every window is plain, and one fits."""
    kernel, stride, padding = pool.kernel_size, pool.stride, pool.padding
    if pool.ceil_mode or not pool.count_include_pad or pool.divisor_override is not None:
        return False
    if not (isinstance(kernel, int) and isinstance(stride, int) and isinstance(padding, int)):
        return False
    if stride < 1 or not 0 <= 2 * padding <= kernel:
        return False  # torch has an error for it
    return x.dim() == 5 and min(x.shape[-2:]) + 2 * padding >= kernel


def average_pool(x: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """The mean over square windows, zeros around the image included: (N, C, H, W), channels last → the same."""
    return cast(Tensor, _AveragePool.apply(x, x[:0].clone(), kernel, stride, padding))


@final
class _AveragePool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, nothing: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
        images, channels, height, width = x.shape
        out_height, out_width = ((size + 2 * padding - kernel) // stride + 1 for size in (height, width))
        ctx.window = Window(channels, height, width, out_height, out_width, kernel, stride, padding)
        ctx.shape, ctx.settings = x.shape, (kernel, stride, padding)
        ctx.save_for_backward(nothing)  # an empty part of x: without its memory, but with its place in the graph
        return _pool(x, (images, channels, out_height, out_width), ctx.window, backward=False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        if not _kernel_goes_backward(grad):
            kernel, stride, padding = ctx.settings
            (nothing,) = ctx.saved_tensors
            like = torch.empty(ctx.shape, dtype=grad.dtype, memory_format=torch.channels_last)
            window = ([kernel] * 2, [stride] * 2, [padding] * 2, False, True, None)
            dx = torch.ops.aten.avg_pool2d_backward(grad, like, *window)
            return dx + nothing.sum(), None, None, None, None  # no second derivative by x is one of 0
        grad = grad.contiguous(memory_format=torch.channels_last)
        return _pool(grad, ctx.shape, ctx.window, backward=True), None, None, None, None


def _pool(x: Tensor, shape: Sequence[int], window: Window, *, backward: bool) -> Tensor:
    out = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    work = max(x.numel(), out.numel())
    call("zoo_pool", work, x.data_ptr(), TYPES[x.dtype], shape[0], window, out.data_ptr(), int(backward))
    return out
