"""Suites of encoders and decoders."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from zoo.contracts.encoder import CONSTANT
from zoo.errors import CompositionError, ModelNameError
from zoo.registry import default_registry
from zoo.testing.models import check_training_step, compose
from zoo.testing.modules import OptionTests
from zoo.testing.suite import (
    DTYPES,
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


class EncoderTests(OptionTests):
    """(N, C, …) real → (T, N, C, …) in {0, 1}.

    Attributes:
        decoder: the decoder that inverts it, decode(encode(k / 255)) = k / 255; None for none.
    """

    kind = "encoder"
    answer_batch_dim: ClassVar[int] = 1
    decoder: str | None = None

    def example(self) -> Tensor:
        return uniform((3, 2, 4, 4), -0.5, 1.5)

    def test_repeatable_planes_repeat_in_training_mode(self) -> None:
        """If it says `repeatable`: it draws no random numbers, with and without gradients."""
        encoder = self.build().train()
        if not encoder.repeatable:
            pytest.skip("the encoder does not say that it is repeatable")
        for what, x in (difficult_values() | {"images": self.example()}).items():
            with seeded(1):
                first = encoder(x.clone().requires_grad_()).detach()
            with seeded(2):
                assert torch.equal(first, run(encoder, x)), f"{what} give other planes the second time"

    def test_planes_have_the_declared_shape(self) -> None:
        """(T, N, C, …) for an input of (N, C, …), T = `timesteps`."""
        encoder = self.build()
        for shape in SHAPES:
            actual, expected = tuple(run(encoder, uniform(shape)).shape), (encoder.timesteps, *shape)
            assert actual == expected, f"`forward` gives {actual} for an input of {shape}; return {expected}"

    def test_planes_hold_zeros_and_ones(self) -> None:
        """Nothing but 0 and 1, for difficult values and in every number type, in both modes; not with `CONSTANT`."""
        if self.build().code == CONSTANT:
            pytest.skip("the encoder gives the real value itself at every timestep")
        for training in (True, False):
            encoder = self.build().train(training)
            for what, x in difficult_values().items():
                for dtype in DTYPES:
                    planes = run(encoder, x.to(dtype))
                    other = planes[(planes != 0) & (planes != 1)].unique()[:3].tolist()
                    assert not other, f"`forward` gives planes with {other} for {what}, {dtype}; spikes are 0 or 1"

    def test_gradient(self) -> None:
        """If `differentiable`, a gradient of the input's shape and type, not zero, finite for difficult values."""
        encoder = self.build()
        if not encoder.differentiable:
            planes = encoder(uniform((2, 3)).requires_grad_())
            assert not planes.requires_grad, "`differentiable` is False, but a gradient comes back; encode x.detach()"
            return
        for x in [uniform(shape) for shape in SHAPES] + [uniform((2, 3, 4, 4)).to(dtype) for dtype in DTYPES]:
            check_gradient(gradient(encoder, x, _upstream), x)
        for what, x in difficult_values().items():
            check_finite(gradient(encoder, x, _upstream), f"the gradient of {what}")

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
        """Its name composes a has8 model, and a training step gives every parameter a finite gradient."""
        self._differentiable()
        check_training_step(compose(f"has8_resnet_b2_m2_d1_{self.name}_{self.decoder or 'rate'}"))

    def _differentiable(self) -> Any:
        encoder = self.build()
        if not encoder.differentiable:
            pytest.skip("the encoder is not differentiable and says so")
        return encoder


def _upstream(planes: Tensor) -> Tensor:
    """Positive, so that what arrives cannot cancel by chance."""
    return uniform(planes.shape, 0.5, 1.5, seed=2).to(planes.dtype)


class DecoderTests(OptionTests):
    """(T, N, C, …) → (N, C, …).

    Attributes:
        encoder: an encoder whose planes it reads; None for one of the same name, or `ste`.
    """

    kind = "decoder"
    batch_dim: ClassVar[int] = 1
    encoder: str | None = None

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
        """Behind its encoder, one of its own name, or `ste`, a training step gives finite gradients."""
        own = self.name.partition(":")[2] or self.name
        for encoder in (self.encoder,) if self.encoder else (own, "ste"):
            try:
                model = compose(f"has8_resnet_b2_m2_d1_{encoder}_{self.name}")
            except (CompositionError, ModelNameError):
                continue
            return check_training_step(model)
        pytest.skip('no encoder with a gradient speaks its code; name one: `encoder = "…"`')

    def _counts(self) -> tuple[int, ...]:
        declared = self.build().timesteps
        return ANY_T if declared is None else (declared,)
