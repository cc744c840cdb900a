"""The published neuron: spikingjelly's LIFNode with its own forward and backward."""

from __future__ import annotations

from typing import final

from spikingjelly.activation_based import neuron, surrogate

from zoo.blocks import ALPHA, StatelessNode


@final
class LIFReferenceNeuron(StatelessNode, neuron.LIFNode):
    """Leaky integrate and fire, τ = 2, decayed input, hard reset, from rest.

    The zoo's `lif` gives the same spikes bit for bit; its in-place backward rounds gradients differently, by about
    1e-7 of their maximum.
    """

    api_version = 1

    def __init__(self) -> None:
        neuron.LIFNode.__init__(self, tau=2.0, surrogate_function=surrogate.ATan(ALPHA), step_mode="m")
