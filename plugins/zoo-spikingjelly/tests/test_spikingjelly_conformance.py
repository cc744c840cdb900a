"""The family passes the kit: both kinds of heads, a linear layer alone and one behind a neuron."""

from __future__ import annotations

from zoo.testing import FamilyTests


class TestSpikingjelly(FamilyTests):
    name = "sj"
    names = ("sj_spikformerti", "sj_maxformercifar")
    image_size = 16
