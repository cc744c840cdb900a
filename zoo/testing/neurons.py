"""The suite of a neuron."""

from __future__ import annotations

import copy
from functools import partial

import torch
from spikingjelly.activation_based.neuron import BaseNode
from torch import Tensor

from zoo.contracts.neuron import Neuron
from zoo.testing.inputs import DTYPES, answer, gradient, normal, require_gradient, require_near, run, seeded, uniform
from zoo.testing.models import compose, require_training_step
from zoo.testing.modules import OptionTests
from zoo.testing.outcome import NotApplicable, attempting, require
from zoo.testing.prices import require_prices

SHAPES = ((8, 3, 5), (4, 2, 3, 5, 4), (1, 2, 6), (8, 1, 4), (3, 0, 5), (3, 0, 2, 4, 4))
STEPS = 8


class NeuronTests(OptionTests):
    """(T, N, …) real → (T, N, …) in {0, 1}, from rest on every call.

    Example:
        >>> class TestMine(NeuronTests):
        ...     name = "mine"

    Attributes:
        scale: standard deviation of the input currents that the checks use; choose it so that some of them make
            the neuron fire and some do not.
    """

    kind = "neuron"
    scale: float = 2.0

    def single_steps(self, neuron: Neuron, x: Tensor) -> Tensor | None:
        """Spikes of x (T, N, …), computed from rest one timestep at a time; None where there is no such form.

        spikingjelly's nodes have one: their `single_step_forward`, between two resets.
        """
        if not isinstance(neuron, BaseNode):
            return None
        node = copy.deepcopy(neuron)
        node.reset()
        return torch.stack([node.single_step_forward(current) for current in x])

    def build(self, seed: int = 0) -> Neuron:
        cls = self.load()
        with seeded(seed), attempting("the constructor without arguments"):
            neuron: Neuron = cls()
        return neuron

    def example(self) -> Tensor:
        return self.currents((STEPS, 3, 4, 5))

    @property
    def batch_dim(self) -> int:
        return 1

    @property
    def answer_batch_dim(self) -> int:
        return 1

    def currents(self, shape: tuple[int, ...], seed: int = 0) -> Tensor:
        """Normal numbers of the suite's scale."""
        return normal(shape, self.scale, seed)

    def test_declarations(self) -> None:
        """`prices` are what the contract says."""
        require_prices(self.build().prices)

    def test_spikes_have_the_shape_of_the_input(self) -> None:
        """(T, N, …) for vectors, images, one timestep, a single sample and an empty batch."""
        neuron = self.build()
        for shape in SHAPES:
            size = tuple(run(neuron, self.currents(shape)).shape)
            require(size == shape, f"`forward` gives {size} for currents of {shape}; return one spike for each")

    def test_spikes_are_zeros_and_ones(self) -> None:
        """Nothing else, in every number type and for strong currents; and both of them occur."""
        neuron = self.build()
        for dtype in DTYPES:
            for scale in (1, 1e3):
                x = (self.currents((STEPS, 4, 50)) * scale).to(dtype)
                spikes = run(neuron.to(dtype), x, f"{dtype} currents of scale {self.scale * scale:g}")
                other = spikes[(spikes != 0) & (spikes != 1)].unique()[:3].tolist()
                require(not other, f"`forward` gives {', '.join(map(str, other))}; spikes are 0 or 1")
        share = run(self.build(), self.currents((STEPS, 4, 50))).mean().item()
        require(
            0 < share < 1,
            f"{share:.0%} of the currents of scale {self.scale:g} make it fire; set `scale` in the test so that some "
            "do and some do not, or look at the threshold",
        )

    def test_later_inputs_change_no_earlier_spike(self) -> None:
        """Time runs one way: spikes up to t depend on currents up to t alone, and so does T itself."""
        neuron, x = self.build().eval(), self.currents((STEPS, 4, 50))
        spikes = run(neuron, x)
        for t in range(1, STEPS):
            changed = x.clone()
            changed[t:] = -3 * changed[t:] + 1
            require(
                torch.equal(run(neuron, changed)[:t], spikes[:t]),
                f"currents from step {t} on change spikes before it; process the steps in order, dimension 0 first",
            )
            require(
                torch.equal(run(neuron, x[:t]), spikes[:t]),
                f"the first {t} steps alone give other spikes than the same steps followed by more; "
                "do not let a step depend on T",
            )

    def test_earlier_inputs_change_later_spikes(self) -> None:
        """It has a memory: the same current makes it fire or not, after different pasts."""
        neuron, x = self.build().eval(), self.currents((STEPS, 4, 50))
        past = x.clone()
        past[:-1] = self.currents((STEPS - 1, 4, 50), seed=1)
        require(
            not torch.equal(run(neuron, past)[-1], run(neuron, x)[-1]),
            "the last step's spikes do not depend on earlier steps; carry the membrane potential from step to step",
        )

    def test_gradient(self) -> None:
        """Of the input's shape and type, finite and not zero, in every number type."""
        neuron = self.build()
        for shape in SHAPES:
            x = self.currents(shape)
            require_gradient(gradient(neuron, x, torch.ones_like), x)
        for dtype in DTYPES:
            x = self.currents((STEPS, 3, 10)).to(dtype)
            require_gradient(gradient(neuron.to(dtype), x, torch.ones_like), x, f"{dtype} currents")

    def test_gradient_of_strong_currents(self) -> None:
        """Finite far from the threshold too, on both sides, where exponentials overflow."""
        neuron, shape = self.build(), (STEPS, 3, 10)
        strong = {f"currents of scale {1e3 * self.scale:g}": self.currents(shape) * 1e3}
        for factor in (4, -4, 1e3, -1e3):
            strong[f"a constant current of {factor * self.scale:g}"] = torch.full(shape, factor * self.scale)
        for dtype in DTYPES:
            for what, x in strong.items():
                grad = gradient(neuron.to(dtype), x.to(dtype), torch.ones_like, what)
                bad = int((~torch.isfinite(grad)).sum())
                require(
                    not bad,
                    f"the gradient of {what}, {dtype}, has {bad} of {grad.numel()} values that are NaN or infinite; "
                    "look for an overflow in the surrogate: torch.sigmoid is safe, exp(-x) is not",
                )

    def test_gradient_goes_back_through_time(self) -> None:
        """From the last spikes to the first currents, and never forward."""
        neuron, x = self.build(), self.currents((4, 4, 50))
        last, first = (gradient(neuron, x, partial(_at, step=step)) for step in (-1, 0))
        require(
            bool(last[0].any()),
            "no gradient goes from the last step's spikes to the first step's currents; "
            "do not detach the membrane potential between steps",
        )
        require(
            not bool(first[1:].any()),
            "the first step's spikes send a gradient to later currents; reverse the loop in `backward`",
        )

    def test_gradient_of_parameters(self) -> None:
        """What is learned gets a finite gradient."""
        neuron = self.build()
        learned = dict(neuron.named_parameters())
        if not learned:
            raise NotApplicable("it has no parameters")
        spikes = answer(neuron, self.currents((STEPS, 3, 20)).requires_grad_())
        with attempting("`backward` for parameters"):
            grads = torch.autograd.grad(spikes.sum(), list(learned.values()), allow_unused=True)
        for name, grad in zip(learned, grads, strict=True):
            require(grad is not None, f"no gradient reaches the parameter {name}; use it in `forward`, or drop it")
            require_gradient(grad, learned[name], f"the parameter {name}")

    def test_single_steps_give_the_same_spikes(self) -> None:
        """T steps, one at a time, are one call with T steps: in spikes, and in gradients to 1e-4."""
        neuron, x = self.build().eval(), self.currents((STEPS, 3, 40))
        leaf = x.clone().requires_grad_()
        with attempting("`single_steps`"):
            stepped = self.single_steps(neuron, leaf)
        if stepped is None:
            raise NotApplicable("no single-step form; override `single_steps(neuron, x)` if there is one")
        require(torch.equal(stepped, run(neuron, x)), "single steps from rest give other spikes than `forward`")
        with attempting("`backward` through `single_steps`"):
            (expected,) = torch.autograd.grad(stepped.sum(), leaf)
        grad = gradient(neuron, x, torch.ones_like)
        require_near(grad, expected, 1e-4, "the gradient is not that of single steps")

    def test_it_learns_in_a_model(self) -> None:
        """Its name composes a has8 model, and a training step gives every parameter a finite gradient."""
        name = f"has8_resnet_b2_m2_d1_ste_bpd_{self.name}"
        require_training_step(compose(name, self.components), uniform((2, 3, 16, 16)))


def _at(spikes: Tensor, step: int) -> Tensor:
    upstream = torch.zeros_like(spikes)
    upstream[step] = 1
    return upstream
