"""The suite of an encoder."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.testing.inputs import (
    DTYPES,
    answer,
    gradient,
    normal,
    require_gradient,
    require_near,
    run,
    seeded,
    uniform,
)
from zoo.testing.models import compose, require_training_step
from zoo.testing.modules import OptionTests
from zoo.testing.outcome import NotApplicable, attempting, require
from zoo.testing.prices import require_prices

SHAPES = ((3, 5), (2, 3, 5, 4), (1, 4), (1, 1, 1, 1), (2, 1, 3, 2, 2))
EMPTY = ((0, 5), (0, 3, 4, 4))


def difficult_values() -> dict[str, Tensor]:
    """Batches (2, C) that encoders stumble over."""
    levels = torch.arange(256) / 255
    between = (torch.arange(255) + 0.5) / 255
    mixed = torch.stack((normal((5,), 3.0), uniform((5,))))
    return {
        "all levels k/255": torch.stack((levels, levels.flip(0))),
        "values half-way between levels": torch.stack((between, between.flip(0))),
        "zeros": torch.zeros(2, 5),
        "ones": torch.ones(2, 5),
        "a constant over 1": torch.full((2, 5), 4.0),
        "a negative constant": torch.full((2, 5), -3.0),
        "values outside [0, 1]": mixed,
        "values of ±1e30": torch.tensor([[1e30, 0.0, 0.5, -1e30], [0.0, 0.25, 0.5, 1.0]]),
        "denormal numbers": torch.tensor([[1e-45, 0.0, 1e-40], [1e-38, -0.0, 1.0]]),
    }


class EncoderTests(OptionTests):
    """(N, C, …) real → (T, N, C, …) in {0, 1}.

    Example:
        >>> class TestGray(EncoderTests):
        ...     name = "gray"
        ...     decoder = "gray"

    Attributes:
        decoder: the decoder that inverts it, decode(encode(k / (levels − 1))) = k / (levels − 1); None for none.
        levels: how many numbers the round trip keeps apart.
    """

    kind = "encoder"
    decoder: str | None = None
    levels: int = 256

    def reference_planes(self, x: Tensor) -> Tensor | None:
        """The planes of x (N, C) in [0, 1], float64, by a slow and obvious way; None for no reference."""
        return None

    def reference_gradient(self, x: Tensor, grad: Tensor) -> Tensor | None:
        """∂/∂x where `grad` (T, N, C) arrives at the planes, likewise in float64; None for no reference."""
        return None

    def build(self, seed: int = 0) -> Encoder:
        cls = self.load()
        with seeded(seed), attempting("the constructor without arguments"):
            encoder: Encoder = cls()
        return encoder

    def example(self) -> Tensor:
        return uniform((3, 2, 4, 4), -0.5, 1.5)

    @property
    def answer_batch_dim(self) -> int:
        return 1

    def test_declarations(self) -> None:
        """`timesteps`, `code`, `differentiable`, `repeatable` and `prices` are what the contract says."""
        encoder = self.build()
        count = encoder.timesteps
        require(isinstance(count, int) and count >= 1, f"`timesteps` is {count!r}; declare a whole number from 1")
        require(
            isinstance(encoder.code, str) and bool(encoder.code),
            f"`code` is {encoder.code!r}; say in words what the planes mean, such as 'gray-lsb-first'",
        )
        require(
            isinstance(encoder.differentiable, bool),
            f"`differentiable` is {encoder.differentiable!r}; declare True or False",
        )
        require(isinstance(encoder.repeatable, bool), f"`repeatable` is {encoder.repeatable!r}; declare True or False")
        require_prices(encoder.prices)

    def test_repeatable_planes_repeat_in_training_mode(self) -> None:
        """Where it says `repeatable`, whatever torch's generator is at, and without gradients as with them."""
        encoder = self.build().train()
        if not encoder.repeatable:
            raise NotApplicable("the encoder does not say that it is repeatable")
        images = uniform((2, 3, 4, 4), -0.5, 1.5)
        for what, x in (difficult_values() | {"images": images}).items():
            with seeded(1):
                first = run(encoder, x.clone().requires_grad_(), what).detach()
            with seeded(2), torch.no_grad():
                again = run(encoder, x, what)
            require(
                torch.equal(first, again),
                f"`repeatable` is True, but {what} give other planes the second time, in training mode; "
                "draw no random numbers, or leave `repeatable` out",
            )

    def test_planes_have_the_declared_shape(self) -> None:
        """(T, N, C, …) for vectors, images, a single sample and an empty batch."""
        encoder = self.build()
        for shape in (*SHAPES, *EMPTY):
            actual = tuple(run(encoder, uniform(shape)).shape)
            expected = (encoder.timesteps, *shape)
            require(
                actual == expected,
                f"`forward` gives {actual} for an input of {shape}, but `timesteps` says T = {encoder.timesteps}: "
                f"return {expected}, planes first, or declare another T",
            )

    def test_planes_hold_zeros_and_ones(self) -> None:
        """Nothing but 0 and 1, for difficult values and in every number type, in both modes."""
        for training in (True, False):
            encoder = self.build().train(training)
            for what, x in difficult_values().items():
                for dtype in DTYPES:
                    planes = run(encoder, x.to(dtype), f"{what}, {dtype}")
                    other = planes[(planes != 0) & (planes != 1)].unique()[:3].tolist()
                    require(
                        not other,
                        f"`forward` gives planes with {', '.join(map(str, other))} for {what}, {dtype}; "
                        "spikes are 0 or 1: round and clamp before you take planes",
                    )

    def test_planes_say_something(self) -> None:
        """Dark and bright inputs give different planes."""
        encoder = self.build().eval()
        dark, bright = (run(encoder, torch.full((1, 64), value)) for value in (0.0, 1.0))
        require(not torch.equal(dark, bright), "the planes of 0 and of 1 are the same; `forward` loses its input")

    def test_gradient(self) -> None:
        """Where it is differentiable, a gradient of the input's shape and type, finite and not zero; else none."""
        encoder = self.build()
        if not encoder.differentiable:
            planes = answer(encoder, uniform((2, 3)).requires_grad_())
            require(
                not planes.requires_grad,
                "`differentiable` is False, but a gradient comes back; declare True, or encode x.detach()",
            )
            return
        for shape in (*SHAPES, *EMPTY):
            x = uniform(shape)
            require_gradient(gradient(encoder, x, _upstream), x)
        for dtype in DTYPES:
            x = uniform((2, 3, 4, 4)).to(dtype)
            require_gradient(gradient(encoder, x, _upstream), x, f"{dtype} numbers")

    def test_gradient_of_difficult_values(self) -> None:
        """Finite for constants, huge and tiny values too."""
        encoder = self.build()
        self._needs_gradient(encoder)
        for what, x in difficult_values().items():
            grad = gradient(encoder, x, _upstream, what)
            bad = int((~torch.isfinite(grad)).sum())
            require(
                grad.shape == x.shape and not bad,
                f"the gradient of {what} has {bad} of {grad.numel()} values that are NaN or infinite; "
                "look for a division by zero or an overflow in `backward`",
            )

    def test_gradient_ignores_batch_mates(self) -> None:
        """∂(planes of one sample)/∂(another sample) = 0."""
        encoder = self.build().eval()
        self._needs_gradient(encoder)
        x = self.example()
        grad = gradient(encoder, x, _of_first_sample)
        require(
            not bool(grad[1:].any()),
            "the planes of one sample send a gradient to other samples of the batch; work on one sample at a time",
        )

    def test_planes_equal_the_reference(self) -> None:
        """Against the author's slow way, where there is one."""
        encoder, x = self.build().eval(), self._reference_input()
        expected = self.reference_planes(x)
        if expected is None:
            raise NotApplicable("no reference; override `reference_planes(x)` to compare with a slow, obvious way")
        planes = run(encoder, x)
        require(
            planes.shape == expected.shape,
            f"`reference_planes` gives {tuple(expected.shape)}, `forward` {tuple(planes.shape)}; (T, N, C) is wanted",
        )
        wrong = [t for t in range(len(expected)) if not torch.equal(planes[t], expected[t].to(planes.dtype))]
        place = int((planes[wrong[0]] != expected[wrong[0]]).flatten().nonzero()[0]) if wrong else 0
        require(
            not wrong,
            f"planes {', '.join(map(str, wrong))} differ from the reference, first for x = {x.flatten()[place]:.6g}; "
            "look at the order of the planes and at rounding",
        )

    def test_gradient_equals_the_reference(self) -> None:
        """Against the author's slow way, where there is one, to 1e-4 of the largest value."""
        encoder, x = self.build().eval(), self._reference_input()
        grad = normal((encoder.timesteps, *x.shape), seed=3).double()
        expected = self.reference_gradient(x, grad)
        if expected is None:
            raise NotApplicable("no reference; override `reference_gradient(x, grad)` to compare with a slow way")
        grads = gradient(encoder, x, lambda _: grad)
        require_near(grads, expected, 1e-4, "the gradient is not that of `reference_gradient`")

    def test_round_trip(self) -> None:
        """decode(encode(k / (levels − 1))) = k / (levels − 1), where a decoder is declared."""
        encoder, decoder = self.build().eval(), self._decoder()
        with attempting(f"the check of this encoder by the decoder {self.decoder!r}"):
            decoder.check(encoder)
        for dtype in (torch.float32, torch.float64):
            x = (torch.arange(self.levels, dtype=dtype) / (self.levels - 1))[None]
            decoded = run(decoder, run(encoder, x), "the encoder's planes")
            wrong = ((decoded - x).abs() > 1e-6).flatten().nonzero().flatten().tolist()
            first = f"k = {wrong[0]} comes back as {decoded[0, wrong[0]] * (self.levels - 1):.6g}" if wrong else ""
            require(
                not wrong,
                f"decoding by {self.decoder!r} after encoding loses {len(wrong)} of {self.levels} levels ({dtype}): "
                f"{first}; do encoder and decoder order the planes alike?",
            )

    def test_it_learns_in_a_model(self) -> None:
        """Its name composes a has8 model, and a training step gives every parameter a finite gradient."""
        encoder = self.build()
        self._needs_gradient(encoder)
        name = f"has8_resnet_b2_m2_d1_{self.name}_{self.decoder or 'rate'}"
        require_training_step(compose(name, self.components), uniform((2, 3, 16, 16)))

    def _needs_gradient(self, encoder: Encoder) -> None:
        if not encoder.differentiable:
            raise NotApplicable("the encoder is not differentiable and says so")

    def _reference_input(self) -> Tensor:
        levels = torch.arange(self.levels).double() / (self.levels - 1)
        return torch.stack((levels, uniform((self.levels,), seed=4).double()))

    def _decoder(self) -> Decoder:
        if self.decoder is None:
            raise NotApplicable('no decoder declared; name the one that inverts this encoder: `decoder = "…"`')
        with attempting(f"loading the decoder {self.decoder!r}"):
            decoder: Decoder = self.components.load("decoder", self.decoder)()
        return decoder.eval()


def _upstream(planes: Tensor) -> Tensor:
    """Positive, so that what arrives cannot cancel by chance."""
    return uniform(planes.shape, 0.5, 1.5, seed=2).to(planes.dtype)


def _of_first_sample(planes: Tensor) -> Tensor:
    upstream = _upstream(planes)
    upstream[:, 1:] = 0
    return upstream
