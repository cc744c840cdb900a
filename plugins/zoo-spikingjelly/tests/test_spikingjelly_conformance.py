"""The kit: both kinds of heads, a linear layer alone and one behind a neuron; the converters refuse what is foreign."""

from __future__ import annotations

from zoo.testing import ConverterTests, FamilyTests


class TestSpikingjelly(FamilyTests):
    name = "sj"
    names = ("sj_spikformerti", "sj_maxformercifar")
    image_size = 16


class TestSew(ConverterTests):
    name = "sew"


class TestSpikformer(ConverterTests):
    name = "spikformer"


class TestQkformer(ConverterTests):
    name = "qkformer"


class TestSdt(ConverterTests):
    name = "sdt"


class TestMsResNet(ConverterTests):
    name = "msresnet"


class TestStep(ConverterTests):
    name = "step"
