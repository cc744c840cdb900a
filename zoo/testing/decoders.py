"""The suite of a decoder."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.errors import ComponentError, CompositionError
from zoo.testing.component import full_name
from zoo.testing.inputs import DTYPES, gradient, require_gradient, run, seeded, spikes, uniform
from zoo.testing.models import compose, require_training_step
from zoo.testing.modules import OptionTests
from zoo.testing.outcome import ConformanceError, NotApplicable, attempting, require
from zoo.testing.prices import require_prices

SHAPES = ((3, 5), (2, 3, 5, 4), (1, 4), (1, 1, 1, 1), (2, 1, 3, 2, 2), (0, 5), (0, 3, 4, 4))
ANY_T = (1, 2, 7, 8, 10)


class _Speaker(Encoder):
    """An encoder in name alone: it has a code and a T to be accepted or refused by."""

    api_version = 1
    code = ""
    differentiable = True

    def __init__(self, code: str, timesteps: int) -> None:
        super().__init__()
        self.code, self._timesteps = code, timesteps  # type: ignore[misc]

    @property
    def timesteps(self) -> int:
        return self._timesteps

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class DecoderTests(OptionTests):
    """(T, N, C, …) → (N, C, …).

    Example:
        >>> class TestGray(DecoderTests):
        ...     name = "gray"
        ...     encoder = "gray"

    Attributes:
        encoder: an encoder whose planes it reads; None to look for one among those of its distribution and the
            zoo's own.
    """

    kind = "decoder"
    encoder: str | None = None

    def build(self, seed: int = 0) -> Decoder:
        cls = self.load()
        with seeded(seed), attempting("the constructor without arguments"):
            decoder: Decoder = cls()
        return decoder

    def example(self) -> Tensor:
        return spikes((self._counts()[-1], 3, 2, 4, 4))

    @property
    def batch_dim(self) -> int:
        return 1

    def test_declarations(self) -> None:
        """`codes`, `timesteps` and `prices` are what the contract says."""
        decoder = self.build()
        require_prices(decoder.prices)
        codes, count = decoder.codes, decoder.timesteps
        valid = codes is None or (isinstance(codes, frozenset) and codes and all(isinstance(c, str) for c in codes))
        require(
            bool(valid), f"`codes` is {codes!r}; declare a frozenset of the codes it reads, or None where it reads any"
        )
        require(
            count is None or (isinstance(count, int) and count >= 1),
            f"`timesteps` is {count!r}; declare the T it needs, a whole number from 1, or None for any",
        )

    def test_it_accepts_what_it_reads_and_refuses_the_rest(self) -> None:
        """`check` says of an encoder's code and T what the declarations say."""
        decoder = self.build()
        code = min(decoder.codes or {"any"})
        for count in self._counts():
            with attempting(f"`check` of an encoder of code {code!r}, T = {count}"):
                decoder.check(_Speaker(code, count))
        if decoder.codes is not None:
            _require_refused(decoder, f"not {code}", self._counts()[0], "code")
        if decoder.timesteps is not None:
            _require_refused(decoder, code, decoder.timesteps + 1, "T")

    def test_it_reads_its_encoder(self) -> None:
        """`check` accepts the encoder that the test names, which must be installed."""
        if self.encoder is None:
            raise NotApplicable('no encoder named; set `encoder = "…"` to the one whose planes it reads')
        decoder, encoder = self.build(), self._load_encoder()
        with attempting(f"`check` of the encoder {self.encoder!r}"):
            decoder.check(encoder)

    def test_answers_have_the_shape_of_a_plane(self) -> None:
        """T goes, everything else stays: for vectors, images, a single sample and an empty batch."""
        decoder = self.build()
        for count in self._counts():
            for shape in SHAPES:
                what = f"spikes of {(count, *shape)} (if it cannot take any T, declare `timesteps`)"
                size = tuple(run(decoder, spikes((count, *shape)), what).shape)
                require(
                    size == shape,
                    f"`forward` gives {size} for spikes of {(count, *shape)}; return {shape}",
                )

    def test_answers_tell_planes_apart(self) -> None:
        """Silence and firing give different numbers."""
        decoder = self.build().eval()
        count = self._counts()[-1]
        silent, firing = run(decoder, torch.zeros(count, 1, 4)), run(decoder, torch.ones(count, 1, 4))
        one = torch.zeros(count, 1, 4)
        one[-1] = 1
        different = not torch.equal(silent, firing) or not torch.equal(silent, run(decoder, one))
        require(different, "silence, firing and a single spike are decoded alike; `forward` loses its input")

    def test_gradient(self) -> None:
        """Of the input's shape and type, finite and not zero, in every number type."""
        decoder = self.build()
        for shape in SHAPES:
            x = spikes((self._counts()[-1], *shape))
            require_gradient(gradient(decoder, x, torch.ones_like), x)
        for dtype in DTYPES:
            x = spikes((self._counts()[-1], 2, 3, 4)).to(dtype)
            require_gradient(gradient(decoder, x, torch.ones_like), x, f"{dtype} spikes")

    def test_sums_and_averages_of_spikes(self) -> None:
        """Residual additions make counts of spikes, and average pooling fractions; both stay finite."""
        decoder, shape = self.build().eval(), (self._counts()[-1], 2, 3, 4)
        counts = sum((spikes(shape, seed) for seed in (1, 2)), spikes(shape))
        for what, x in {"counts of spikes 0…3": counts, "averages of spikes": uniform(shape)}.items():
            require(
                bool(torch.isfinite(run(decoder, x, what)).all()),
                f"`forward` gives NaN or infinity for {what}; it meets them behind a residual addition or a pooling",
            )
            require_gradient(gradient(decoder, x, torch.ones_like, what), x, what)

    def test_round_trip(self) -> None:
        """The encoder that the test names loses nothing but rounding: |decode(encode(x)) − x| ≤ 1/T, x in [0, 1]."""
        if self.encoder is None:
            raise NotApplicable('no encoder named; set `encoder = "…"` to the one whose planes it reads')
        decoder, encoder = self.build().eval(), self._load_encoder().eval()
        x = uniform((4, 64))
        apart = (run(decoder, run(encoder, x)) - x).abs().max().item()
        require(
            apart <= 1 / encoder.timesteps,
            f"decoding after {self.encoder!r} is off by up to {apart:.3g} in [0, 1]; do they order the planes alike?",
        )

    def test_it_learns_in_a_model(self) -> None:
        """Its name composes a has8 model, and a training step gives every parameter a finite gradient."""
        name = f"has8_resnet_b2_m2_d1_{self.encoder or self._find_encoder()}_{self.name}"
        require_training_step(compose(name, self.components), uniform((2, 3, 16, 16)))

    def _counts(self) -> tuple[int, ...]:
        declared = self.build().timesteps
        return ANY_T if declared is None else (declared,)

    def _load_encoder(self) -> Encoder:
        with attempting(f"loading the encoder {self.encoder!r}"):
            encoder: Encoder = self.components.load("encoder", str(self.encoder))()
        return encoder

    def _find_encoder(self) -> str:
        """An encoder with a gradient that this decoder accepts."""
        decoder, ours = self.build(), self.component.distribution
        near = [c for c in self.components.components("encoder") if c.distribution in (ours, "has8-zoo")]
        for component in sorted(near, key=lambda c: (c.distribution == "has8-zoo", c.name != "ste")):
            try:
                encoder = component.load()()
                decoder.check(encoder)
            except (ComponentError, CompositionError):  # a broken one, or one in another code, is not the one sought
                continue
            if encoder.differentiable:
                return full_name(component)
        raise NotApplicable('no encoder with a gradient speaks its code; name one: `encoder = "…"`')


def _require_refused(decoder: Decoder, code: str, timesteps: int, what: str) -> None:
    try:
        decoder.check(_Speaker(code, timesteps))
    except CompositionError:
        return
    raise ConformanceError(f"`check` accepts an encoder of another {what} than declared; leave `check` as it is")
