"""What the in-place paths on the CPU share: when they run, the order in memory, and chunks that stay in cache.

Each of them computes what a plain definition computes, which runs everywhere else: on a GPU, in float64, on the meta
device, under the transforms of torch.func, and while torch compiles, exports or traces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

CHUNK = 1 << 16
"""Values that one thread walks at once; eight float32 timesteps of them stay in a core's cache."""

MANY_CHANNELS, _FEW_PIXELS = 384, 4
"""Maps of so many channels and so few pixels oneDNN convolves in blocks of its own, by a quarter to a third faster."""

_NARROW = (torch.float32, torch.bfloat16, torch.float16)


def runs_in_place(x: Tensor) -> bool:
    """Whether x is a plain, non-empty CPU tensor of float32 or narrower, and nothing but results is asked for."""
    return x.device.type == "cpu" and runs_eagerly(x)


def runs_eagerly(x: Tensor) -> bool:
    """The same wherever x lies."""
    return (
        x.dtype in _NARROW
        and x.numel() > 0
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined]
        and not is_transformed(x)
    )


def values_at_once() -> int:
    """Values to walk at once: they follow torch's number of threads.

    torch gives every thread the same part of the range in every operation of the same size, so that a part stays in
    the cache of one core through all steps of a walk.
    """
    return CHUNK * torch.get_num_threads()


def is_transformed(x: Tensor) -> bool:
    """Whether torch.func's vmap, grad or jvp is at work on x: it has no memory of its own to write to."""
    return is_functorch_wrapped_tensor(x)


def pixels_last(images: Tensor) -> Tensor:
    """The same (N, C, H, W), channel by channel within a pixel (channels_last), on the CPU in float32 or narrower.

    Every layer behind it keeps that order; convolutions, norms and pooling are faster in it than in torch's default,
    but for wide maps of a few pixels, which are brought into that one. While operations are counted there is nothing
    to gain.
    """
    if images.device.type != "cpu" or images.dtype not in _NARROW or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return images
    if not torch.compiler.is_compiling() and is_transformed(images):
        return images
    if not torch.compiler.is_compiling() and _is_wide_and_tiny(images):
        return images.contiguous()
    return images.contiguous(memory_format=torch.channels_last)


def _is_wide_and_tiny(images: Tensor) -> bool:
    _, channels, height, width = images.shape
    return height * width <= _FEW_PIXELS and channels >= MANY_CHANNELS


def inner_order(x: Tensor) -> tuple[int, ...]:
    """The dimensions behind the first as they lie in memory, outermost first; (0, …) of it is the order of x."""
    return (0, *sorted(range(1, x.dim()), key=x.stride, reverse=True))


def as_rows(x: Tensor, order: tuple[int, ...]) -> Tensor:
    """(A, …) → (A, values) in the order given: a view where x lies so in memory, a copy elsewhere."""
    return x.permute(order).flatten(1) if x.dim() > 1 else x.unsqueeze(1)


def empty_rows(x: Tensor, order: tuple[int, ...], *outer: int, dtype: torch.dtype | None = None) -> Tensor:
    """An uninitialised (*outer, *x.shape) whose part for every outer index lies in memory in the order given."""
    rows = x.new_empty((*outer, *(x.shape[i] for i in order)), dtype=dtype or x.dtype)
    shift = len(outer)
    inverse = sorted(range(x.dim()), key=order.__getitem__)
    return rows.permute((*range(shift), *(shift + i for i in inverse)))


def rows_like(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """An uninitialised tensor like (A, …) x, outermost A in memory, x as (A, values), and so this: see `as_rows`."""
    result = torch.empty_like(x)
    values = x.numel() // len(x)
    if result.stride() == x.stride() and x.stride(0) == values:  # no gaps, and A outermost: a few views less
        shape, strides = (len(x), values), (values, 1)
        return result, x.as_strided(shape, strides), result.as_strided(shape, strides)
    order = inner_order(x)
    result = empty_rows(x[0], tuple(dimension - 1 for dimension in order[1:]), len(x))
    return result, as_rows(x, order), as_rows(result, order)


def column_parts(values: int, *rows: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """The next so many columns of each (…, columns), side by side."""
    if rows[0].shape[-1] <= values:
        return (rows,)  # splitting takes as long as the arithmetic on a small map
    return zip(*(tensor.split(values, -1) for tensor in rows), strict=True)


def chunks(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Slices that cover (rows, columns) in blocks of `values_at_once()` or fewer: whole rows, or parts of one."""
    most = values_at_once()
    if columns >= most:
        for row in range(rows):
            yield from ((slice(row, row + 1), slice(start, start + most)) for start in range(0, columns, most))
        return
    step = most // columns
    yield from ((slice(row, row + step), slice(None)) for row in range(0, rows, step))
