"""Inputs of the checks, drawn from generators of their own, and what is seen of a module's answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from zoo.testing.outcome import attempting, require

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
ENOUGH = 20
"""Values from which on a gradient may not be zero by chance: surrogates have flat places."""


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """torch's generator at `seed` inside, and as it was afterwards: components draw their weights from it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def uniform(shape: Sequence[int], low: float = 0.0, high: float = 1.0, seed: int = 0) -> Tensor:
    """Float32 numbers in [low, high)."""
    return torch.rand(tuple(shape), generator=torch.Generator().manual_seed(seed)) * (high - low) + low


def normal(shape: Sequence[int], scale: float = 1.0, seed: int = 0) -> Tensor:
    """Float32 normal numbers of that standard deviation."""
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)) * scale


def spikes(shape: Sequence[int], seed: int = 0) -> Tensor:
    """Zeros and ones, as float32."""
    return torch.randint(0, 2, tuple(shape), generator=torch.Generator().manual_seed(seed)).float()


def run(module: nn.Module, x: Tensor, what: str = "") -> Tensor:
    """The module's answer to x, without a graph; raises `ConformanceError` for what is not a tensor."""
    __tracebackhide__ = True
    with torch.no_grad():
        return answer(module, x, what)


def answer(module: nn.Module, x: Tensor, what: str = "") -> Tensor:
    """The module's answer to x, with a graph where x or a parameter wants one."""
    __tracebackhide__ = True
    described = what or f"an input of shape {tuple(x.shape)}"
    with attempting(f"`forward` with {described}"):
        output = module(x)
    require(isinstance(output, Tensor), f"`forward` gave a {type(output).__name__} for {described}; return one tensor")
    return output


def gradient(module: nn.Module, x: Tensor, upstream: Callable[[Tensor], Tensor], what: str = "") -> Tensor:
    """∂(upstream · module(x))/∂x.

    Args:
        module: what is differentiated.
        x: any shape.
        upstream: makes the gradient that arrives at the answer.
        what: x in words.
    """
    __tracebackhide__ = True
    described = what or f"an input of shape {tuple(x.shape)}"
    leaf = x.detach().clone().requires_grad_()
    output = answer(module, leaf, what)
    require(
        output.requires_grad,
        f"no gradient comes back for {described}: `forward` leaves the graph (a comparison, round() or detach()); "
        "give it a torch.autograd.Function with a surrogate gradient",
    )
    with attempting(f"`backward` with {described}"):
        (grad,) = torch.autograd.grad(output, leaf, upstream(output), allow_unused=True)
    require(grad is not None, f"no gradient reaches {described}: `forward` does not use its input in the graph")
    return grad


def require_gradient(grad: Tensor, x: Tensor, what: str = "") -> None:
    """Shape and type of x, finite throughout, and of many values not all zero."""
    __tracebackhide__ = True
    described = what or f"an input of shape {tuple(x.shape)}"
    require(
        grad.shape == x.shape and grad.dtype == x.dtype,
        f"the gradient of {described} has shape {tuple(grad.shape)} and type {grad.dtype}; "
        f"return {tuple(x.shape)} and {x.dtype}",
    )
    bad = int((~torch.isfinite(grad)).sum())
    require(
        bad == 0,
        f"the gradient of {described} has {bad} of {grad.numel()} values that are NaN or infinite; "
        "look for a division by zero or an overflow in `backward`",
    )
    require(
        grad.numel() < ENOUGH or bool(grad.any()),
        f"the gradient of {described} is zero everywhere, so nothing below learns; see `backward`",
    )


def require_near(actual: Tensor, expected: Tensor, tolerance: float, message: str) -> None:
    """max |a − b| ≤ tolerance · max |b|; the message is followed by how far they are apart."""
    __tracebackhide__ = True
    require(actual.shape == expected.shape, f"{message}: shapes {tuple(actual.shape)} and {tuple(expected.shape)}")
    if expected.numel() == 0:
        return
    apart, most = (actual.double() - expected.double()).abs().max().item(), expected.double().abs().max().item()
    require(apart <= tolerance * most, f"{message}: {apart:.3g} apart, where the largest value is {most:.3g}")
