"""Suite of neurons."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor

from zoo.testing.models import check_training_step, compose
from zoo.testing.modules import OptionTests
from zoo.testing.suite import DTYPES, check_finite, check_gradient, gradient, normal, run

SHAPES = ((8, 3, 5), (4, 2, 3, 5, 4), (1, 2, 6), (8, 1, 4), (3, 0, 5), (3, 0, 2, 4, 4))
STEPS = 8


class NeuronTests(OptionTests):
    """(T, N, …) real → (T, N, …) in {0, 1}, from rest on every call.

    Attributes:
        scale: standard deviation of the input currents that the checks use; choose it so that some of them make
            the neuron fire and some do not.
    """

    kind = "neuron"
    batch_dim: ClassVar[int] = 1
    answer_batch_dim: ClassVar[int] = 1
    scale: float = 2.0

    def example(self) -> Tensor:
        return self.currents((STEPS, 3, 4, 5))

    def currents(self, shape: tuple[int, ...], seed: int = 0) -> Tensor:
        """Normal numbers of the suite's scale."""
        return normal(shape, self.scale, seed)

    def test_spikes_are_zeros_and_ones(self) -> None:
        """One for each current and nothing else, in every number type, for strong currents; and both occur."""
        for shape in SHAPES:
            actual = tuple(run(self.build(), self.currents(shape)).shape)
            assert actual == shape, f"`forward` gives {actual} for currents of {shape}; return one spike for each"
        neuron = self.build()
        for dtype in DTYPES:
            for scale in (1, 1e3):
                spikes = run(neuron.to(dtype), (self.currents((STEPS, 4, 50)) * scale).to(dtype))
                other = spikes[(spikes != 0) & (spikes != 1)].unique()[:3].tolist()
                assert not other, f"`forward` gives {other}; spikes are 0 or 1"
        share = run(self.build(), self.currents((STEPS, 4, 50))).mean().item()
        assert 0 < share < 1, (
            f"{share:.0%} of the currents of scale {self.scale:g} make it fire; set `scale` in the test so that some "
            "do and some do not, or look at the threshold"
        )

    def test_later_inputs_change_no_earlier_spike(self) -> None:
        """Time runs one way: spikes up to t depend on currents up to t alone, and so does T itself."""
        neuron, x = self.build().eval(), self.currents((STEPS, 4, 50))
        spikes = run(neuron, x)
        for t in range(1, STEPS):
            changed = x.clone()
            changed[t:] = -3 * changed[t:] + 1
            assert torch.equal(run(neuron, changed)[:t], spikes[:t]), (
                f"currents from step {t} on change spikes before it; process the steps in order, dimension 0 first"
            )
            assert torch.equal(run(neuron, x[:t]), spikes[:t]), "do not let a step depend on T"

    def test_earlier_inputs_change_later_spikes(self) -> None:
        """It has a memory: the same current makes it fire or not, after different pasts."""
        neuron, x = self.build().eval(), self.currents((STEPS, 4, 50))
        past = x.clone()
        past[:-1] = self.currents((STEPS - 1, 4, 50), seed=1)
        assert not torch.equal(run(neuron, past)[-1], run(neuron, x)[-1]), (
            "the last step's spikes do not depend on earlier steps; carry the membrane potential from step to step"
        )

    def test_gradient(self) -> None:
        """Of the input's shape and type, not zero; finite far from the threshold too, where exp(-x) is not."""
        inputs = [self.currents(shape) for shape in SHAPES]
        for x in inputs + [self.currents((STEPS, 3, 10)).to(dtype) for dtype in DTYPES]:
            check_gradient(gradient(self.build().to(x.dtype), x), x)
        strong = [torch.full((STEPS, 3, 10), factor * self.scale) for factor in (4, -4, 1e3, -1e3)]
        for x in (x.to(dtype) for x in strong for dtype in DTYPES):
            grad = gradient(self.build().to(x.dtype), x)
            check_finite(grad, f"the gradient of currents up to {x.abs().max():g}")

    def test_gradient_goes_back_through_time(self) -> None:
        """From the last spikes to the first currents, and never forward."""
        neuron, x = self.build(), self.currents((4, 4, 50))

        def at(step: int) -> Tensor:
            upstream = torch.zeros_like(x)
            upstream[step] = 1
            return gradient(neuron, x, lambda _: upstream)

        assert at(-1)[0].any(), (
            "no gradient goes from the last step's spikes to the first step's currents; "
            "do not detach the membrane potential between steps"
        )
        assert not at(0)[1:].any(), "the first step's spikes send a gradient to later currents"

    def test_gradient_of_parameters(self) -> None:
        """Every parameter gets a finite gradient."""
        neuron = self.build()
        learned = dict(neuron.named_parameters())
        if not learned:
            pytest.skip("it has no parameters")
        spikes = neuron(self.currents((STEPS, 3, 20)).requires_grad_())
        grads = torch.autograd.grad(spikes.sum(), list(learned.values()), allow_unused=True)
        for (name, parameter), grad in zip(learned.items(), grads, strict=True):
            check_gradient(grad, parameter, f"the parameter {name}")

    def test_it_learns_in_a_model(self) -> None:
        """Its name composes a has8 model, and a training step gives every parameter a finite gradient."""
        check_training_step(compose(f"has8_resnet_b2_m2_d1_ste_bpd_{self.name}"))
