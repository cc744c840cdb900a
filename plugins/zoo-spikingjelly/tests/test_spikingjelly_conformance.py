"""The kit: both kinds of heads, a linear layer alone and one behind a neuron; neurons; the converters."""

from __future__ import annotations

from zoo_kit import FamilyTests, suites_of

SUITES = suites_of("zoo-spikingjelly")
globals().update({name: suite for name, suite in SUITES.items() if "converter" in name or "neuron" in name})


class TestSpikingjelly(FamilyTests):
    name = "sj"
    names = ("sj_spikformerti", "sj_maxformercifar")
    image_size = 16
