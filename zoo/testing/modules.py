"""Checks of everything that is an nn.Module: encoders, decoders, neurons, and the models of backbones and families."""

from __future__ import annotations

import copy
import io
import itertools
import json
import pickle
from abc import abstractmethod
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from zoo.testing.suite import DTYPES, ClassTests, check_finite, run, seeded

ROUNDING = 1e-5
"""Tolerance for sums in another order, relative to the largest value."""

training_modes = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


class ModuleTests(ClassTests):
    """Checks of a part of a network: copying, saving, moving, repeating.

    Attributes:
        batch_statistics: True if a sample's answer may depend on its batch in training mode, as behind a batch norm.
        batch_dim: of the input.
        answer_batch_dim: of the answer.
    """

    batch_statistics: ClassVar[bool] = False
    batch_dim: ClassVar[int] = 0
    answer_batch_dim: ClassVar[int] = 0

    @abstractmethod
    def build(self, seed: int = 0) -> Any:
        """Build a fresh module, in training mode, with what it draws at random drawn from that seed."""

    @abstractmethod
    def example(self) -> Tensor:
        """Return a float32 batch of three samples for it."""

    def test_equal_inputs_give_equal_answers(self) -> None:
        """In eval mode: no state between calls, nothing drawn at random, and torch's generator left alone."""
        module, x = self.build().eval(), self.example()
        with seeded(1):
            before = torch.get_rng_state()
            first = run(module, x)
            assert torch.equal(before, torch.get_rng_state()), "a forward in eval mode draws random numbers"
        run(module, x.narrow(self.batch_dim, 0, 1) * 3 - 1)
        with seeded(2):
            assert torch.equal(first, run(module, x)), "the same input gives another answer the second time"

    def test_the_input_is_left_unchanged(self) -> None:
        """Others see the same tensor: an analog branch reads what an encoder read. Work on a copy."""
        x = self.example()
        given = x.clone()
        run(self.build().eval(), given)
        assert torch.equal(given, x), "`forward` changes its input in place"

    @training_modes
    def test_batch_mates_change_nothing(self, training: bool) -> None:
        """A sample's answer depends on that sample alone, also beside one far outside its range."""
        if training and self.batch_statistics:
            pytest.skip("batch norms see the whole batch in training mode")
        x = self.example()
        others = x.clone()
        others.narrow(self.batch_dim, 1, 2).mul_(-7).add_(3)
        answers = []
        for batch in (x, others):
            module = self.build().train(training)
            with seeded(1):
                answers.append((run(module, batch).select(self.answer_batch_dim, 0), torch.get_rng_state()))
        (one, drawn), (two, also) = answers
        # Unless how much is drawn depends on values, as Poisson numbers do.
        assert not torch.equal(drawn, also) or torch.equal(one, two), (
            "a sample's answer changes with the other samples of its batch; take minima, maxima and means over one "
            "sample at a time (x.flatten(1).amin(1)), not over the batch"
        )

    @training_modes
    def test_a_forward_leaves_no_state(self, training: bool) -> None:
        """No tensor stays in an attribute and no buffer changes; in training mode buffers may move."""
        module, x = self.build().train(training), self.example()
        size, held = len(pickle.dumps(module)), {name: value.clone() for name, value in _held(module).items()}
        _ = module(x.clone().requires_grad_()) if training else run(module, x)
        after = _held(module)
        changed = [name for name in held if after[name].shape != held[name].shape]
        changed += [name for name in held if not training and not torch.equal(after[name], held[name])]
        assert not changed, f"a forward changes {', '.join(changed)}; leave it as it was"
        assert len(pickle.dumps(module)) == size, (
            "a forward leaves something behind in an attribute; keep it in a local variable, or in ctx"
        )

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])  # noqa: S301
    def test_a_copy_is_the_same(self, copied: Any) -> None:
        """After a forward with a graph, as averages and data loaders copy: no lambdas or local classes inside."""
        module, x = self.build().eval(), self.example()
        module(x.clone().requires_grad_())
        assert torch.equal(run(copied(module), x), run(module, x)), "a copy answers differently"

    def test_the_state_dict_holds_everything(self) -> None:
        """A saved state, loaded into a fresh module, gives the same answers: parameters and buffers are all it has."""
        module, x = self.build(), self.example()
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():  # so that a copied state is told from a fresh one
            for parameter in module.parameters():
                parameter.add_(0.1 * torch.rand(parameter.shape, generator=generator))
        file, fresh = io.BytesIO(), self.build(seed=1)
        torch.save(module.state_dict(), file)
        file.seek(0)
        fresh.load_state_dict(torch.load(file, weights_only=True))
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


class OptionTests(ModuleTests):
    """Checks of a component that takes options: an encoder, a decoder, a neuron."""

    def build(self, seed: int = 0) -> Any:
        return self.make(seed)

    def test_options(self) -> None:
        """`options` have defaults that JSON can hold."""
        json.dumps(self.option_defaults())


def _held(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, those that no state_dict has too."""
    return dict(itertools.chain(module.named_parameters(), module.named_buffers()))
