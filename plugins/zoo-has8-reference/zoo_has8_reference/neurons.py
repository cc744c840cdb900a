"""The published neuron: spikingjelly's LIFNode with its own forward and backward."""

from __future__ import annotations

from typing import Any, final

from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor

from zoo.blocks import ALPHA, StatelessNode, at_least_float32


@final
class LIFReferenceNeuron(StatelessNode, neuron.LIFNode):
    """Leaky integrate and fire, τ = 2, decayed input, hard reset, from rest.

    The zoo's `lif` gives the same spikes bit for bit; its in-place backward rounds gradients differently, by about
    1e-7 of their maximum.
    """

    api_version = 1

    def __init__(self) -> None:
        neuron.LIFNode.__init__(self, tau=2.0, surrogate_function=surrogate.ATan(ALPHA), step_mode="m")

    def fast_spikes(self: Any, x: Tensor) -> Tensor:
        """No in-place path: LIFNode's steps, on the CPU too."""
        self.reset()
        spikes: Tensor = self.multi_step_forward(at_least_float32(x))
        self.reset()
        return spikes.to(x.dtype)
