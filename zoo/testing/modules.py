"""Checks of everything that is an nn.Module: encoders, decoders, neurons, and the models of backbones and families."""

from __future__ import annotations

import copy
import io
import json
import pickle
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.testing.component import ClassTests, require_defaults
from zoo.testing.inputs import DTYPES, answer, require_near, run, seeded
from zoo.testing.outcome import NotApplicable, attempting, require
from zoo.testing.state import class_level, held_tensors, loose_tensors, parts

ROUNDING = 1e-5
"""Of the largest value: how far sums in another order may be apart."""


def jitter(module: nn.Module) -> None:
    """Move every parameter a little, so that a copied state is told from a fresh one."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.rand(parameter.shape, generator=generator))


class ModuleTests(ClassTests):
    """What a component has to bear as a part of a network: copying, saving, moving, repeating.

    Attributes:
        batch_statistics: whether a sample's answer may depend on its batch in training mode, as behind a batch norm.
    """

    batch_statistics: ClassVar[bool] = False

    @abstractmethod
    def build(self, seed: int = 0) -> nn.Module:
        """A fresh module, in training mode, with what it draws at random drawn from that seed."""

    @abstractmethod
    def example(self) -> Tensor:
        """A float32 batch of three samples for it."""

    @property
    def batch_dim(self) -> int:
        """Which dimension of its input is the batch."""
        return 0

    @property
    def answer_batch_dim(self) -> int:
        """Which dimension of its answer is the batch."""
        return 0

    def test_it_can_be_built(self) -> None:
        """Its constructor needs no argument that the zoo does not give it."""
        self.build()

    def test_equal_inputs_give_equal_answers(self) -> None:
        """In eval mode, whatever was asked in between, and whatever torch's generator is at."""
        module, x = self.build().eval(), self.example()
        with seeded(1):
            first = run(module, x)
        run(module, x.narrow(self.batch_dim, 0, 1) * 3 - 1)
        with seeded(2):
            again = run(module, x)
        require(
            torch.equal(first, again),
            "the same input gives another answer the second time, in eval mode; keep no state between calls "
            "and draw no random numbers in eval mode",
        )

    def test_the_input_is_left_unchanged(self) -> None:
        """Others see the same tensor: an analog branch reads what an encoder read."""
        module, x = self.build().eval(), self.example()
        copy = x.clone()
        run(module, copy)
        require(torch.equal(copy, x), "`forward` changes its input in place; work on a copy")

    def test_batch_mates_change_nothing(self) -> None:
        """A sample's answer depends on that sample alone, also beside one far outside its range; in both modes."""
        x = self.example()
        others = x.clone()
        others.narrow(self.batch_dim, 1, 2).mul_(-7).add_(3)
        for training in (False,) if self.batch_statistics else (False, True):
            (one, drawn), (two, also) = (self._first_answer(batch, training) for batch in (x, others))
            comparable = torch.equal(drawn, also)  # unless how much is drawn depends on values, as Poisson numbers do
            require(
                not comparable or torch.equal(one, two),
                f"a sample's answer changes with the other samples of its batch, in {_mode(training)}; "
                "take minima, maxima and means over one sample at a time (x.flatten(1).amin(1)), not over the batch",
            )

    def _first_answer(self, x: Tensor, training: bool) -> tuple[Tensor, Tensor]:
        """What a fresh module answers to the first sample, and where torch's generator is then."""
        module = self.build().train(training)
        with seeded(1):
            return run(module, x).select(self.answer_batch_dim, 0), torch.get_rng_state()

    def test_random_numbers_are_left_alone(self) -> None:
        """Nothing is drawn from torch's generator in eval mode, and nothing seeds it in either mode."""
        module, x = self.build(), self.example()
        for training in (False, True):
            module.train(training)
            (before, one), (_, two) = (_generator(module, x, seed) for seed in (1, 2))
            require(
                not torch.equal(one, two),
                f"a forward in {_mode(training)} seeds torch's generator (torch.manual_seed), so that all that is "
                "drawn behind it repeats; draw from a torch.Generator of your own where numbers have to repeat",
            )
            require(
                training or torch.equal(before, one),
                "a forward in eval mode draws random numbers; draw them where self.training alone",
            )

    def test_a_forward_leaves_no_state(self) -> None:
        """Nothing of a batch stays: no tensor in an attribute, no changed buffer; in training mode buffers may move."""
        for training in (False, True):
            module, x = self.build().train(training), self.example()
            state = {name: value.clone() for name, value in held_tensors(module).items()}
            loose = {name: value.clone() for name, value in loose_tensors(module).items()}
            with seeded(1):
                _ = answer(module, x.clone().requires_grad_()) if training else run(module, x)
            _require_held(module, state, training)
            _require_loose(module, loose, training)

    def test_deepcopy_gives_the_same_module(self) -> None:
        """After a forward with a graph, as exponential averages and exporters copy."""
        module, x = self.build().eval(), self.example()
        answer(module, x.clone().requires_grad_())
        with attempting("copy.deepcopy after a forward"):
            copied = copy.deepcopy(module)
        require(torch.equal(run(copied, x), run(module, x)), "a deepcopy answers otherwise than its original")

    def test_pickling_gives_the_same_module(self) -> None:
        """As data loaders' and distributed training's processes need."""
        module, x = self.build().eval(), self.example()
        run(module, x)
        with attempting("pickling (no lambdas and local classes in attributes, please)"):
            copied = pickle.loads(pickle.dumps(module))  # noqa: S301 - made here
        require(torch.equal(run(copied, x), run(module, x)), "a pickled and restored module answers otherwise")

    def test_the_state_dict_holds_everything(self) -> None:
        """A saved state, loaded into a fresh module, gives the very same answers."""
        module, x = self.build(), self.example()
        jitter(module)
        run(module, x)
        file, fresh = io.BytesIO(), self.build(seed=1)
        with attempting("saving the state_dict and loading it with weights_only=True"):
            torch.save(module.state_dict(), file)
            file.seek(0)
            fresh.load_state_dict(torch.load(file, weights_only=True))
        require(
            torch.equal(run(fresh.eval(), x), run(module.eval(), x)),
            "a fresh instance with the saved state answers otherwise: something it computes with is neither a "
            "parameter nor a buffer (register_buffer)",
        )

    def test_instances_share_nothing(self) -> None:
        """Two instances share no module and no tensor, nor does a class hold one."""
        one, two = self.build(), self.build()
        values = {name: kind for name, kind in class_level(one).items() if not name.startswith("Module.")}
        require(
            not values,
            f"{', '.join(f'{name} is a {kind} of the class' for name, kind in values.items())}, which all instances "
            "share and .to(device) does not move; make it in __init__ (register_buffer for a constant)",
        )
        shared = parts(one).keys() & parts(two).keys()
        names = ", ".join(parts(one)[key] for key in shared)
        require(not shared, f"two instances share {names}; make it anew in every __init__")

    def test_meta_device(self) -> None:
        """On the meta device it allocates nothing, and the answer has the same shape and type."""
        x = self.example()
        expected = run(self.build().eval(), x)
        with torch.device("meta"):
            module = self.build().eval()
        real = [n for n, t in [*module.named_parameters(), *module.named_buffers()] if not t.is_meta]
        require(not real, f"under torch.device('meta') {', '.join(real)} is allocated; name no device in __init__")
        what = "a meta tensor (does `forward` look at values, or make tensors without device=x.device?)"
        output = run(module, x.to("meta"), what)
        require(
            output.is_meta and output.shape == expected.shape and output.dtype == expected.dtype,
            f"a meta tensor gives {tuple(output.shape)} of {output.dtype} on {output.device}; on the CPU it is "
            f"{tuple(expected.shape)} of {expected.dtype}: follow x's device in every tensor you make",
        )

    def test_gradient_on_the_meta_device(self) -> None:
        """`backward` follows the device too; a GPU would stumble over what the meta device shows."""
        with torch.device("meta"):
            module = self.build()
        x = self.example().to("meta").requires_grad_()
        output = answer(module, x, "a meta tensor")
        if not output.requires_grad:
            raise NotApplicable("no gradient comes back, on any device")
        what = "`backward` on the meta device (does it look at values, or make tensors without device=x.device?)"
        with attempting(what):
            (grad,) = torch.autograd.grad(output, x, torch.ones_like(output))
        require(grad.is_meta and grad.shape == x.shape, f"the gradient of a meta tensor is on {grad.device}")

    def test_other_number_types(self) -> None:
        """float64 and bfloat16 come out as they went in, finite."""
        for dtype in DTYPES:
            module, x = self.build().eval().to(dtype), self.example().to(dtype)
            output = run(module, x, f"{dtype} numbers")
            require(
                output.dtype == dtype,
                f"`forward` gives {output.dtype} for {dtype}; return the input's own type (result.to(x.dtype))",
            )
            require(bool(torch.isfinite(output).all()), f"`forward` gives NaN or infinity for {dtype} numbers")

    def test_strided_inputs(self) -> None:
        """The memory layout of the input changes nothing."""
        module, x = self.build().eval(), self.example()
        strided = x.transpose(0, -1).contiguous().transpose(0, -1)
        expected, output = run(module, x), run(module, strided, "a non-contiguous input")
        spiking = bool(((expected == 0) | (expected == 1)).all())
        message = "a non-contiguous input gives another answer; use reshape instead of view, and no raw strides"
        require_near(output, expected, 0.0 if spiking else ROUNDING, message)


def _mode(training: bool) -> str:
    return "training mode" if training else "eval mode"


def _generator(module: nn.Module, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Where torch's generator is before and after a forward."""
    with seeded(seed):
        before = torch.get_rng_state()
        run(module, x)
        return before, torch.get_rng_state()


def _require_held(module: nn.Module, before: dict[str, Tensor], training: bool) -> None:
    """Parameters and buffers are as they were; buffers may have other values after a training forward."""
    __tracebackhide__ = True
    buffers = dict(module.named_buffers()) if training else {}
    for name, value in held_tensors(module).items():
        saved = before.get(name)
        same = saved is not None and (saved.shape == value.shape if name in buffers else torch.equal(saved, value))
        what = f"the shape of the buffer {name}" if name in buffers else name
        require(same, f"a forward in {_mode(training)} changes {what}; leave it as it was")


def _require_loose(module: nn.Module, before: dict[str, Tensor], training: bool) -> None:
    """No attribute holds a tensor that it did not hold before."""
    __tracebackhide__ = True
    for name, value in loose_tensors(module).items():
        saved = before.get(name)
        require(
            saved is not None and torch.equal(saved, value),
            f"a forward leaves the tensor `{name}` of shape {tuple(value.shape)} behind, in {_mode(training)}; "
            "keep what you need in local variables, or save it in a torch.autograd.Function's ctx",
        )


class OptionTests(ModuleTests):
    """The same of a component whose constructor takes options: an encoder, a decoder, a neuron."""

    def test_options_are_json(self) -> None:
        """`options` names keyword arguments of the constructor whose defaults JSON can hold."""
        cls = self.load()
        for name, default in require_defaults(cls, cls.options).items():
            with attempting(f"json.dumps of the default of {name!r} ({default!r})"):
                json.dumps(default)
