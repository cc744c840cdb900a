"""The zoo's conformance kit; what the published arithmetic breaks on purpose is listed, and nothing else."""

from __future__ import annotations

from zoo_kit import BackboneTests, DecoderTests, EncoderTests, NeuronTests

ON_PURPOSE = {
    "planes_hold_zeros_and_ones": "255·x is never rounded, so plane 0 holds fractions up to 2",
    "batch_mates_change_nothing": "the range step takes in the whole batch",
}
BITS_REVERSED = {"round_trip": "the first plane, the least significant one, weighs 128"}


class TestSigmoidRef(EncoderTests):
    name = "sigmoidref"
    exempt = ON_PURPOSE


class TestTanhRef(EncoderTests):
    name = "tanhref"
    exempt = ON_PURPOSE


class TestFourierRef(EncoderTests):
    name = "fourierref"
    exempt = ON_PURPOSE


class TestBpdRef(DecoderTests):
    name = "bpdref"
    encoder = "fourierref"
    exempt = BITS_REVERSED


class TestLifRef(NeuronTests):
    name = "lifref"


class TestResNetRef(BackboneTests):
    name = "resnetref"


class TestVggRef(BackboneTests):
    name = "vggref"
