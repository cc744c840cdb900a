"""The kit: both kinds of heads, a linear layer alone and one behind a neuron; the converters refuse what is foreign."""

from __future__ import annotations

from zoo_kit import FamilyTests, suites_of

globals().update({name: suite for name, suite in suites_of("zoo-spikingjelly").items() if "converter" in name})


class TestSpikingjelly(FamilyTests):
    name = "sj"
    names = ("sj_spikformerti", "sj_maxformercifar")
    image_size = 16
