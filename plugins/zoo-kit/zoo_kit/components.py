"""Suites of encoders, decoders and neurons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from zoo.contracts.encoder import BINARY_LSB_FIRST, BINARY_MSB_FIRST, CONSTANT, FRAMES, Encoder
from zoo.contracts.neuron import GRADED, RADIX, SIGNED, UNARY
from zoo.errors import CompositionError, InputError
from zoo.registry.components import default_registry
from zoo_kit.models import check_training_step, compose
from zoo_kit.suite import (
    DTYPES,
    ModuleTests,
    OptionTests,
    check_finite,
    check_gradient,
    gradient,
    normal,
    run,
    seeded,
    spikes,
    uniform,
)

SHAPES = ((3, 5), (2, 3, 5, 4), (1, 4), (1, 1, 1, 1), (2, 1, 3, 2, 2), (0, 5), (0, 3, 4, 4))
"""Vectors, images, a single sample, more dimensions, empty batches."""

ANY_T = (1, 2, 7, 8, 10)

CURRENTS = ((8, 3, 5), (4, 2, 3, 5, 4), (1, 2, 6), (8, 1, 16), (3, 0, 5), (3, 0, 2, 4, 4))
STEPS = 8


def difficult_values() -> dict[str, Tensor]:
    """Batches (2, C) that encoders stumble over."""
    levels = torch.arange(256) / 255
    between = (torch.arange(255) + 0.5) / 255
    return {
        "all levels k/255": torch.stack((levels, levels.flip(0))),
        "values half-way between levels": torch.stack((between, between.flip(0))),
        "zeros": torch.zeros(2, 5),
        "a constant over 1": torch.full((2, 5), 4.0),
        "a negative constant": torch.full((2, 5), -3.0),
        "values outside [0, 1]": torch.stack((normal((5,), 3.0), uniform((5,)))),
        "values of ±1e30": torch.tensor([[1e30, 0.0, 0.5, -1e30], [0.0, 0.25, 0.5, 1.0]]),
        "denormal numbers": torch.tensor([[1e-45, 0.0, 1e-40], [1e-38, -0.0, 1.0]]),
    }


def seen_by(encoder: Encoder, x: Tensor) -> Tensor:
    """Return x (N, C, …) as the encoder takes it: one that passes frames on takes (N, T, C, …)."""
    return torch.stack([x] * encoder.timesteps, 1) if encoder.code == FRAMES else x


class EncoderTests(ModuleTests, OptionTests):
    """(N, C, …) real → (T, N, C, …) in {0, 1}; with the code `FRAMES`, (N, T, C, …) real → (T, N, C, …).

    Attributes:
        decoder: the decoder that inverts it, decode(encode(k / 255)) = k / 255; None for none.
    """

    kind = "encoder"
    answer_batch_dim: ClassVar[int] = 1
    decoder: str | None = None
    basics = (*ModuleTests.basics, "planes_have_the_declared_shape", "planes_hold_zeros_and_ones")

    def example(self) -> Tensor:
        return seen_by(self.build(), uniform((3, 2, 4, 4), -0.5, 1.5))

    def test_repeatable_planes_repeat_in_training_mode(self) -> None:
        """If it says `repeatable`: it draws no random numbers, with and without gradients."""
        encoder = self.build().train()
        if not encoder.repeatable:
            pytest.skip("the encoder does not say that it is repeatable")
        values = {what: seen_by(encoder, x) for what, x in difficult_values().items()}
        for what, x in (values | {"images": self.example()}).items():
            with seeded(1):
                first = encoder(x.clone().requires_grad_()).detach()
            with seeded(2):
                assert torch.equal(first, run(encoder, x)), f"{what} give other planes the second time"

    def test_planes_have_the_declared_shape(self) -> None:
        """(T, N, C, …) for an input of (N, C, …), T = `timesteps`."""
        encoder = self.build()
        for shape in SHAPES:
            actual, expected = tuple(run(encoder, seen_by(encoder, uniform(shape))).shape), (encoder.timesteps, *shape)
            assert actual == expected, f"`forward` gives {actual} for an input of {shape}; return {expected}"

    def test_planes_hold_zeros_and_ones(self) -> None:
        """Nothing but 0 and 1, for difficult values and in every number type; not with `CONSTANT` or `FRAMES`."""
        if self.build().code in (CONSTANT, FRAMES):
            pytest.skip("the encoder gives the real value itself at every timestep")
        for training in (True, False):
            encoder = self.build().train(training)
            for what, x in difficult_values().items():
                for dtype in DTYPES:
                    check_spikes(run(encoder, x.to(dtype)), f"{what}, {dtype}")

    def test_planes_are_in_the_declared_order(self) -> None:
        """With a binary code: no other order of the planes decodes neighbouring levels as nearer to each other."""
        encoder = self.build().eval()
        if encoder.code not in (BINARY_LSB_FIRST, BINARY_MSB_FIRST):
            pytest.skip("its code is not binary")
        planes = run(encoder, (torch.arange(256, dtype=torch.float64) / 255)[None])
        places = list(range(len(planes)))
        orders = {f"planes {a} and {b} change places": _exchanged(places, a, b) for a, b in combinations(places, 2)}
        orders["the last plane comes first"] = places[::-1]
        worth = [2.0**t for t in (places if encoder.code == BINARY_LSB_FIRST else places[::-1])]
        variations = {what: _variation(planes[order], worth) for what, order in orders.items()}
        best = min(variations, key=variations.__getitem__)
        in_order = variations[best] >= _variation(planes, worth)
        assert in_order, f"planes are out of the order of {encoder.code!r}: levels are nearer if {best}"

    def test_gradient(self) -> None:
        """If `differentiable`, a gradient of the input's shape and type, not zero, finite for difficult values."""
        encoder = self.build()
        if not encoder.differentiable:
            planes = encoder(uniform((2, 3)).requires_grad_())
            assert not planes.requires_grad, "`differentiable` is False, but a gradient comes back; encode x.detach()"
            return
        images = [uniform(shape) for shape in SHAPES] + [uniform((2, 3, 4, 4)).to(dtype) for dtype in DTYPES]
        for x in (seen_by(encoder, image) for image in images):
            check_gradient(gradient(encoder, x), x)
        for what, x in difficult_values().items():
            check_finite(gradient(encoder, seen_by(encoder, x)), f"the gradient of {what}")

    def test_round_trip(self) -> None:
        """decode(encode(k / 255)) = k / 255, if a decoder is declared."""
        if self.decoder is None:
            pytest.skip('no decoder declared; name the one that inverts this encoder: `decoder = "…"`')
        encoder, decoder = self.build().eval(), default_registry().load("decoder", self.decoder)().eval()
        decoder.check(encoder)
        for dtype in (torch.float32, torch.float64):
            x = (torch.arange(256, dtype=dtype) / 255)[None]
            lost = ((run(decoder, run(encoder, x)) - x).abs() > 1e-6).sum().item()
            assert not lost, f"{lost} of 256 levels are lost; do both order the planes alike?"

    def test_it_learns_in_a_model(self) -> None:
        """Its name composes a model (has8; snn of frames), and a step gives every parameter a finite gradient."""
        encoder = self.build()
        if not encoder.differentiable:
            pytest.skip("the encoder is not differentiable and says so")
        family = "snn" if encoder.code == FRAMES else "has8"
        check_training_step(compose(f"{family}_resnet_b2_m2_d1_{self.name}_{self.decoder or 'rate'}"))

    def test_frames_pass_in_their_order(self) -> None:
        """With the code `FRAMES`: plane t is frame t, and another number of frames, or a still image, is refused."""
        encoder = self.build()
        if encoder.code != FRAMES:
            pytest.skip("the encoder makes timesteps itself")
        x = uniform((2, encoder.timesteps, 3, 4, 4))
        assert torch.equal(run(encoder, x), x.transpose(0, 1)), "plane t is not frame t"
        for wrong in (uniform((2, encoder.timesteps + 1, 3, 4, 4)), uniform((2, encoder.timesteps))):
            with pytest.raises(InputError):
                encoder(wrong)

    def test_frames_and_stills_are_told_apart(self) -> None:
        """With the code `FRAMES`: `sew` and `snn` refuse a still image, and a network of stills refuses frames."""
        if self.build().code != FRAMES:
            pytest.skip("the encoder takes still images")
        still, frames = uniform((2, 3, 16, 16)), uniform((2, self.build().timesteps, 3, 16, 16))
        for name in (f"snn_resnet_b2_m2_d1_{self.name}_rate", f"sew_resnetsmall_b2_m1_d1_{self.name}"):
            model = compose(name).eval()
            assert run(model, frames).shape == (2, model.num_classes)
            with pytest.raises(InputError):
                model(still)
        with pytest.raises(InputError):
            compose("ann_resnet_b2_m1_d1").eval()(frames)


def _exchanged(places: Sequence[int], a: int, b: int) -> list[int]:
    return [{a: b, b: a}.get(place, place) for place in places]


def _variation(planes: Tensor, worth: Sequence[float]) -> float:
    """Sum the changes from one level to the next, (T, 1, levels), of planes of that worth."""
    values = (planes * planes.new_tensor(worth)[:, None, None]).sum(0)
    return float(values.diff().abs().sum())


class DecoderTests(ModuleTests, OptionTests):
    """(T, N, C, …) → (N, C, …).

    Attributes:
        encoder: an encoder whose planes it reads; None for `ste` in a model, and no round trip.
    """

    kind = "decoder"
    batch_dim: ClassVar[int] = 1
    encoder: str | None = None
    basics = (*ModuleTests.basics, "answers_have_the_shape_of_a_plane")

    def example(self) -> Tensor:
        return spikes((self._counts()[-1], 3, 2, 4, 4))

    def test_answers_have_the_shape_of_a_plane(self) -> None:
        """T goes, everything else stays; if it cannot take any T, it declares `timesteps`."""
        decoder = self.build()
        for count in self._counts():
            for shape in SHAPES:
                actual = tuple(run(decoder, spikes((count, *shape))).shape)
                assert actual == shape, f"`forward` gives {actual} for spikes of {(count, *shape)}; return {shape}"

    def test_gradient(self) -> None:
        """A gradient of the input's shape and type, finite and not zero, for counts and means of spikes too."""
        decoder, shape = self.build(), (self._counts()[-1], 2, 3, 4)
        inputs = [spikes((self._counts()[-1], *each)) for each in SHAPES]
        inputs += [spikes(shape).to(dtype) for dtype in DTYPES]
        inputs += [spikes(shape) + spikes(shape, 1) + spikes(shape, 2), uniform(shape)]
        for x in inputs:
            check_finite(run(decoder, x), f"the answer to {tuple(x.shape)}")
            check_gradient(gradient(decoder, x), x)

    def test_round_trip(self) -> None:
        """The encoder that the test names loses nothing but rounding: `|decode(encode(x)) − x| ≤ 1/T`, x in [0, 1]."""
        if self.encoder is None:
            pytest.skip('no encoder named; set `encoder = "…"` to the one whose planes it reads')
        decoder, encoder = self.build().eval(), default_registry().load("encoder", self.encoder)().eval()
        decoder.check(encoder)
        x = uniform((4, 64))
        apart = (run(decoder, run(encoder, x)) - x).abs().max().item()
        assert apart <= 1 / encoder.timesteps, f"decoding after {self.encoder!r} is off by up to {apart:.3g} in [0, 1]"

    def test_it_learns_in_a_model(self) -> None:
        """Behind its encoder, or `ste`, a training step gives every parameter a finite gradient."""
        try:
            model = compose(f"has8_resnet_b2_m2_d1_{self.encoder or 'ste'}_{self.name}")
        except CompositionError as error:
            pytest.skip(f'{error}; name an encoder with a gradient whose planes it reads: `encoder = "…"`')
        check_training_step(model)

    def _counts(self) -> tuple[int, ...]:
        declared = self.build().timesteps
        return ANY_T if declared is None else (declared,)


class NeuronTests(ModuleTests, OptionTests):
    """(T, N, …) real → (T, N, …) spikes of its code, from rest on every call.

    Attributes:
        scale: standard deviation of the input currents that the checks use; choose it so that some of them make
            the neuron fire and some do not. None for 2, and for ½ if it reads digits.
    """

    kind = "neuron"
    batch_dim: ClassVar[int] = 1
    answer_batch_dim: ClassVar[int] = 1
    scale: float | None = None
    basics = (*ModuleTests.basics, "spikes_are_zeros_and_ones")

    def example(self) -> Tensor:
        return self.currents((STEPS, 3, 4, 5))

    def currents(self, shape: tuple[int, ...], seed: int = 0) -> Tensor:
        """Normal numbers of the suite's scale."""
        return normal(shape, self._scale(), seed)

    def _scale(self) -> float:
        return self.scale or (0.5 if self._waits() else 2.0)

    def _waits(self) -> bool:
        """Return whether it takes in all currents first, as it must to write digits."""
        return bool(self.load().code == RADIX or self.build().waits)

    def test_spikes_are_zeros_and_ones(self) -> None:
        """Or what its `code` says, one for each current, in every number type, for strong currents; and some are 0."""
        for shape in CURRENTS:
            actual = tuple(run(self.build(), self.currents(shape)).shape)
            assert actual == shape, f"`forward` gives {actual} for currents of {shape}; return one spike for each"
        neuron, x, strength = self.build(), self.currents((STEPS, 4, 50)), self._scale()
        share = run(neuron, x).ne(0).float().mean().item()
        assert 0 < share < 1, (
            f"{share:.0%} of the currents of scale {strength:g} make it fire; set `scale` in the test so that some "
            "do and some do not, or look at the threshold"
        )
        for dtype in DTYPES:
            for scale in (1, 1e3):
                fired = run(neuron.to(dtype), (x * scale).to(dtype))
                check_spikes(fired, f"currents of scale {scale * strength:g}", neuron.code)

    def test_later_inputs_change_no_earlier_spike(self) -> None:
        """Time runs one way: spikes up to t depend on currents up to t alone, and so does T itself."""
        if self._waits():
            pytest.skip("it waits until all currents are there")
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
        inputs = [self.currents(shape) for shape in CURRENTS]
        for x in inputs + [self.currents((STEPS, 3, 10)).to(dtype) for dtype in DTYPES]:
            check_gradient(gradient(self.build().to(x.dtype), x), x)
        strong = [torch.full((STEPS, 3, 10), factor * self._scale()) for factor in (4, -4, 1e3, -1e3)]
        for x in (x.to(dtype) for x in strong for dtype in DTYPES):
            grad = gradient(self.build().to(x.dtype), x)
            check_finite(grad, f"the gradient of currents up to {x.abs().max():g}")

    def test_gradient_goes_back_through_time(self) -> None:
        """From the last spikes to the first currents, and never forward."""
        x = self.currents((4, 4, 50)).requires_grad_()
        spikes = self.build()(x)
        last, first = (torch.autograd.grad(spikes[step].sum(), x, retain_graph=True)[0] for step in (-1, 0))
        assert last[0].any(), (
            "no gradient goes from the last step's spikes to the first step's currents; "
            "do not detach the membrane potential between steps"
        )
        assert self._waits() or not first[1:].any(), "the first step's spikes send a gradient to later currents"

    def test_it_learns_in_a_model(self) -> None:
        """Its name composes a has8 model, and a training step gives every parameter, its own too, a finite gradient."""
        check_training_step(compose(f"has8_resnet_b2_m2_d1_ste_bpd_{self.name}"))


def check_spikes(values: Tensor, what: str, code: str = UNARY) -> None:
    """Check that every value is a spike of that code."""
    least, most = {SIGNED: (-1, 1), GRADED: (-torch.inf, torch.inf)}.get(code, (0, 1))
    wrong = (values != values.round()) | (values < least) | (values > most)
    other = values[wrong].unique()[:3].tolist()
    valid = {SIGNED: "-1, 0 or 1", GRADED: "whole numbers"}.get(code, "0 or 1")
    assert not other, f"`forward` gives {other} for {what}; spikes are {valid}"
