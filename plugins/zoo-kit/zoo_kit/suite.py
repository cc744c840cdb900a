"""Base of every suite, checks of every nn.Module, and the inputs and comparisons that checks share."""

from __future__ import annotations

import copy
import functools
import inspect
import json
import pickle
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from zoo.registry.components import Component, default_registry

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
ENOUGH = 20
"""Values from which on a gradient may not be zero by chance: surrogates have flat places."""
ROUNDING = 1e-5
"""Tolerance for sums in another order, relative to the largest value."""

training_modes = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


class ComponentTests(ABC):  # noqa: B024
    """Suite of a component; subclass that of its kind in a test file, and name the component.

    Every method `test_…` is one check.

    Attributes:
        kind: set by the suite of the kind.
        name: of the component, as it stands in a model's name. Its package must be installed.
        exempt: checks that this component fails on purpose, without `test_`, with the reason. Each becomes a strict
            xfail: if it passes, the exemption is out of date.
        basics: checks that others build on, the most basic first; if one fails, other failures may be its consequences.
    """

    kind: str = ""
    name: str = ""
    exempt: ClassVar[Mapping[str, str]] = {}
    basics: ClassVar[tuple[str, ...]] = ("it_loads", "it_can_be_built")

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

    def make(self, seed: int = 0) -> Any:
        """Construct the component without arguments, drawing what is random from that seed."""
        cls = self.load()
        with seeded(seed):
            return cls()

    def test_it_loads(self) -> None:
        """Its entry point names what its kind asks for, written for this version of the API."""
        self.load()


def _expect_failure(method: Callable[..., None], reason: str) -> Callable[..., None]:
    """Mark a copy of a check as a strict xfail; the check itself belongs to other suites too."""

    @functools.wraps(method)
    def copied(*args: Any, **kwargs: Any) -> None:
        method(*args, **kwargs)

    return pytest.mark.xfail(reason=reason, strict=True)(copied)


class OptionTests(ComponentTests):
    """Checks of a component that takes options: an encoder, a decoder, a neuron, a converter."""

    def test_options(self) -> None:
        """`options` names keyword arguments of the constructor, which takes the default of each; JSON can hold them."""
        cls = self.load()
        taken = inspect.signature(cls).parameters
        defaults = {name: taken[name].default for name in cls.options if name in taken}
        wrong = cls.options - {name for name, value in defaults.items() if value is not inspect.Parameter.empty}
        assert not wrong, f"{', '.join(sorted(wrong))}: no keyword argument of {cls.__name__} with a default"
        json.dumps(defaults)
        cls(**defaults)


class ModuleTests(ComponentTests):
    """Checks of a part of a network: copying, saving, moving, repeating.

    Attributes:
        batch_statistics: True if a sample's answer may depend on its batch in training mode, as behind a batch norm.
        batch_dim: of the input.
        answer_batch_dim: of the answer.
    """

    batch_statistics: ClassVar[bool] = False
    batch_dim: ClassVar[int] = 0
    answer_batch_dim: ClassVar[int] = 0

    def build(self, seed: int = 0) -> Any:
        """Build a fresh module, in training mode, with what it draws at random drawn from that seed."""
        return self.make(seed)

    @abstractmethod
    def example(self) -> Tensor:
        """Return a float32 batch of three samples for it."""

    def test_it_can_be_built(self) -> None:
        """Its constructor needs no arguments and raises nothing."""
        self.build()

    def test_equal_inputs_give_equal_answers(self) -> None:
        """In eval mode: no state between calls, nothing drawn at random, and torch's generator and x left alone."""
        module, x = self.build().eval(), self.example()
        with seeded(1):
            before, given = torch.get_rng_state(), x.clone()
            first = run(module, x)
            assert torch.equal(before, torch.get_rng_state()), "a forward in eval mode draws random numbers"
            assert torch.equal(given, x), "`forward` changes its input in place; an analog branch reads it too"
        run(module, x.narrow(self.batch_dim, 0, 1) * 3 - 1)
        with seeded(2):
            assert torch.equal(first, run(module, x)), "the same input gives another answer the second time"

    @training_modes
    def test_batch_mates_change_nothing(self, training: bool) -> None:
        """A sample's answer depends on that sample alone, also beside one far outside its range."""
        if training and self.batch_statistics:
            pytest.skip("batch norms see the whole batch in training mode")
        x = self.example()
        alone, drawn = self._answer(x, training)
        for sample in range(x.shape[self.batch_dim]):
            others = -7 * x + 3
            others.select(self.batch_dim, sample).copy_(x.select(self.batch_dim, sample))
            answer, also = self._answer(others, training)
            same = torch.equal(
                answer.select(self.answer_batch_dim, sample), alone.select(self.answer_batch_dim, sample)
            )
            # Unless how much is drawn depends on values, as Poisson numbers do.
            assert same or not torch.equal(drawn, also), (
                f"the answer to sample {sample} changes with the other samples of its batch; take minima, maxima and "
                "means over one sample at a time (x.flatten(1).amin(1)), not over the batch"
            )

    def _answer(self, x: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """Return a fresh module's answer, and torch's random state behind it."""
        module = self.build().train(training)
        with seeded(1):
            return run(module, x), torch.get_rng_state()

    @training_modes
    def test_a_forward_leaves_no_state(self, training: bool) -> None:
        """No tensor stays in an attribute and no buffer changes; in training mode buffers may move."""
        module, x = self.build().train(training), self.example()
        size, buffers = len(pickle.dumps(module)), {name: value.clone() for name, value in module.named_buffers()}
        _ = module(x.clone().requires_grad_()) if training else run(module, x)
        assert len(pickle.dumps(module)) == size, (
            "a forward leaves something behind in an attribute; keep it in a local variable, or in ctx"
        )
        changed = [name for name, value in module.named_buffers() if not torch.equal(value, buffers[name])]
        assert training or not changed, f"a forward changes {', '.join(changed)}; leave it as it was"

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])  # noqa: S301
    def test_a_copy_is_the_same(self, copied: Any) -> None:
        """After a forward with a graph, as averages and data loaders copy: no lambdas or local classes inside."""
        module, x = self.build().eval(), self.example()
        module(x.clone().requires_grad_())
        assert torch.equal(run(copied(module), x), run(module, x)), "a copy answers differently"

    def test_the_state_dict_holds_everything(self) -> None:
        """A state, loaded into a fresh module, gives the same answers: parameters and buffers are all it has."""
        module, fresh, x = self.build(), self.build(seed=1), self.example()
        with torch.no_grad(), seeded(5):  # so that a copied state is told from a fresh one
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.rand_like(parameter))
        fresh.load_state_dict(module.state_dict())
        same = torch.equal(run(fresh.eval(), x), run(module.eval(), x))
        assert same, "something that it computes with is neither a parameter nor a buffer (register_buffer)"

    def test_meta_device(self) -> None:
        """On the meta device, shape and type follow, as they must on a GPU."""
        x = self.example()
        expected = run(self.build().eval(), x)
        with torch.device("meta"):
            module = self.build().eval()
        output = module(x.to("meta").requires_grad_())
        followed = (output.is_meta, output.shape, output.dtype) == (True, expected.shape, expected.dtype)
        assert followed, "`forward` looks at values, or makes tensors without device=x.device"

    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_other_number_types(self, dtype: torch.dtype) -> None:
        """float64 and bfloat16 come out as they went in, finite."""
        output = run(self.build().eval().to(dtype), self.example().to(dtype))
        assert output.dtype == dtype, f"`forward` gives {output.dtype} for {dtype}; return result.to(x.dtype)"
        check_finite(output, f"the answer to {dtype} numbers")

    def test_strided_inputs(self) -> None:
        """Memory layout of the input changes nothing: reshape, not view, and no raw strides."""
        module, x = self.build().eval(), self.example()
        expected, output = run(module, x), run(module, x.transpose(0, -1).contiguous().transpose(0, -1))
        torch.testing.assert_close(output, expected, rtol=0, atol=ROUNDING * float(expected.abs().max()))


# Inputs and comparisons -----------------------------------------------------------------------------------------------


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


def gradient(module: nn.Module, x: Tensor) -> Tensor:
    """Return ∂(u · module(x))/∂x for random positive u, so that what arrives cannot cancel by chance."""
    leaf = x.detach().clone().requires_grad_()
    output = module(leaf)
    assert output.requires_grad, (
        "no gradient comes back: `forward` leaves the graph (a comparison, round() or detach()); "
        "give it a torch.autograd.Function with a surrogate gradient"
    )
    upstream = uniform(output.shape, 0.5, 1.5, seed=2).to(output.dtype)
    (grad,) = torch.autograd.grad(output, leaf, upstream, allow_unused=True)
    assert grad is not None, "`forward` does not use its input in the graph"
    return grad


def check_gradient(grad: Tensor, x: Tensor) -> None:
    """Check for the shape and type of x, finite values, and of many values not all zero."""
    what = f"the gradient of an input of {tuple(x.shape)}, {x.dtype},"
    same = (grad.shape, grad.dtype) == (x.shape, x.dtype)
    assert same, f"{what} has shape {tuple(grad.shape)} and type {grad.dtype}"
    check_finite(grad, what)
    assert grad.numel() < ENOUGH or grad.any(), f"{what} is zero everywhere; nothing below learns"


def check_finite(tensor: Tensor, what: str) -> None:
    """Check that no value is NaN or infinite."""
    bad = int((~torch.isfinite(tensor)).sum())
    assert not bad, f"{what} has {bad} values that are NaN or infinite; look for a division by zero or an overflow"
