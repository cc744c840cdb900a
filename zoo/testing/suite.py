"""Base of every suite, and the inputs and comparisons that checks share."""

from __future__ import annotations

import functools
import inspect
from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from zoo.contracts import API_VERSION
from zoo.registry import Component, default_registry

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
ENOUGH = 20
"""Values from which on a gradient may not be zero by chance: surrogates have flat places."""


class ComponentTests(ABC):  # noqa: B024
    """Suite of a component; subclass that of its kind in a test file, and name the component.

    Every method `test_…` is one check.

    Attributes:
        kind: set by the suite of the kind.
        name: of the component, as it stands in a model's name. Its distribution must be installed.
        exempt: checks that this component fails on purpose, without `test_`, with the reason. Each becomes a strict
            xfail: if it passes, the exemption is out of date.
    """

    kind: str = ""
    name: str = ""
    exempt: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for check, reason in vars(cls).get("exempt", {}).items():
            setattr(cls, f"test_{check}", _expect_failure(getattr(cls, f"test_{check}"), reason))

    @property
    def component(self) -> Component:
        """Handle of the component."""
        assert self.name, f'{type(self).__name__} names no {self.kind}; add `name = "…"` to it'
        return default_registry().find(self.kind, self.name)

    def load(self) -> Any:
        """Load the component's class; of a catalog its file."""
        return self.component.load()

    def test_it_loads(self) -> None:
        """Its entry point names what its kind asks for, written for this version of the API."""
        self.load()


class ClassTests(ComponentTests):
    """Checks of every component that is a class, of any kind."""

    def make(self, seed: int = 0) -> Any:
        """Construct the component without arguments, drawing what is random from that seed."""
        cls = self.load()
        with seeded(seed):
            return cls()

    def option_defaults(self) -> dict[str, Any]:
        """Return the default of each option, a keyword argument of the constructor."""
        cls = self.load()
        taken = inspect.signature(cls).parameters
        defaults = {name: taken[name].default for name in sorted(cls.options) if name in taken}
        wrong = cls.options - {name for name, value in defaults.items() if value is not inspect.Parameter.empty}
        assert not wrong, f"{', '.join(sorted(wrong))}: no keyword argument of {cls.__name__} with a default"
        return defaults

    def test_it_declares_its_own_api_version(self) -> None:
        """Inherited from a class of the zoo, `api_version` would follow every new zoo without being tested on it."""
        cls = self.load()
        owner = next(base for base in cls.__mro__ if "api_version" in vars(base))
        ours = owner.__module__.partition(".")[0] == cls.__module__.partition(".")[0]
        assert ours, f"{cls.__name__} inherits `api_version` from {owner}; write `api_version = {API_VERSION}` in it"


def _expect_failure(method: Callable[..., None], reason: str) -> Callable[..., None]:
    """Mark a copy of a check as a strict xfail; the check itself belongs to other suites too."""

    @functools.wraps(method)
    def copied(*args: Any, **kwargs: Any) -> None:
        method(*args, **kwargs)

    return pytest.mark.xfail(reason=reason, strict=True)(copied)


@contextmanager
def seeded(seed: int = 0) -> Iterator[None]:
    """Set torch's generator to `seed` inside, and restore it afterwards."""
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


def run(module: nn.Module, x: Tensor) -> Tensor:
    """Return the module's answer to x, without a graph."""
    with torch.no_grad():
        output = module(x)
    assert isinstance(output, Tensor), f"`forward` gives a {type(output).__name__}; return one tensor"
    return output


def gradient(module: nn.Module, x: Tensor, upstream: Callable[[Tensor], Tensor] = torch.ones_like) -> Tensor:
    """Return ∂(upstream · module(x))/∂x."""
    leaf = x.detach().clone().requires_grad_()
    output = module(leaf)
    assert output.requires_grad, (
        "no gradient comes back: `forward` leaves the graph (a comparison, round() or detach()); "
        "give it a torch.autograd.Function with a surrogate gradient"
    )
    (grad,) = torch.autograd.grad(output, leaf, upstream(output), allow_unused=True)
    assert grad is not None, "`forward` does not use its input in the graph"
    return grad


def check_gradient(grad: Tensor | None, x: Tensor, what: str = "") -> None:
    """Check for the shape and type of x, finite values, and of many values not all zero."""
    what = what or f"an input of {tuple(x.shape)}, {x.dtype}"
    assert grad is not None, f"no gradient reaches {what}; use it in `forward`, or leave it out"
    same = (grad.shape, grad.dtype) == (x.shape, x.dtype)
    assert same, f"the gradient of {what} has shape {tuple(grad.shape)} and type {grad.dtype}"
    check_finite(grad, f"the gradient of {what}")
    assert grad.numel() < ENOUGH or grad.any(), f"the gradient of {what} is zero everywhere; nothing below learns"


def check_finite(tensor: Tensor, what: str) -> None:
    """Check that no value is NaN or infinite."""
    bad = int((~torch.isfinite(tensor)).sum())
    assert not bad, f"{what} has {bad} values that are NaN or infinite; look for a division by zero or an overflow"
