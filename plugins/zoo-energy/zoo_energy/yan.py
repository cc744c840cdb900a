"""Yan and others: a spiking network beside the quantised one of ⌈log₂(T+1)⌉ bits, with what moving data costs."""

from __future__ import annotations

from typing import final

from zoo.contracts import EnergyModel, Operations, Picojoules, SynapticLayer

REAL_BITS = 8
"""Bits that an activation without few levels is moved and multiplied with."""


@final
class Yan(EnergyModel):
    """Arithmetic and data movement of a chip with sparse events for spikes, and dense traffic for all else.

    E = Σ used · (add + event + weight) over spikes, and Σ dense · (b · dense move + weight) + used · b · multiply over
    activations of b bits; a comparison for every neuron and timestep, a subtraction for every spike.

    Attributes:
        add: an accumulate, comparison or subtraction, in picojoules.
        multiply: a multiply-accumulate with a 4-bit weight, for every bit of the activation.
        event: a spike moved one hop, with its metadata.
        move: a bit of a dense activation moved one hop.
        weight: a weight of 4 bits read.
    """

    api_version = 1
    source = (
        "Yan and others, 2024, arXiv:2409.08290, version 4 (22 nm; events as routed on Loihi); prices of weights and "
        "multiplications were not seen, and are set by the crossover and its sensitivity to weights that it states"
    )
    prices = (
        "0.05448 pJ an addition, 3 pJ an event, 0.25 pJ a bit of a dense activation moved; inferred: 0.15 pJ a weight "
        "read, 0.045 pJ a multiplication for every bit"
    )
    charges = (
        "for every spike and weight: event, weight, addition; for every other input and weight, with zeros too: bits "
        "moved, weight; a multiplication where it is not 0; comparisons and resets of neurons"
    )
    leaves_out = "control, pooling, additions, coders; more than one hop; weights of more than 4 bits"
    add = 0.05448
    multiply = 0.045
    event = 3.0
    move = 0.25
    weight = 0.15

    def estimate(self, operations: Operations) -> Picojoules:
        """Energy of one image."""
        firing = [rate for rate in operations.rates if not rate.encoder]
        spiking = sum(self._layer(layer) for layer in operations.synapses if layer.operation == "AC")
        by_spikes = spiking + self.add * sum(rate.spikes for rate in firing)
        comparing = self.add * sum(rate.values for rate in firing)
        dense = [layer for layer in operations.synapses if layer.operation == "MAC"]
        total = by_spikes + comparing + sum(map(self._layer, dense))
        by_time = by_spikes + comparing + sum(self._layer(layer) for layer in dense if layer.branch == "spiking")
        images = operations.images
        return Picojoules(total / images, by_spikes / images, by_time / images)

    def _layer(self, layer: SynapticLayer) -> float:
        """Return the energy of a convolution or linear layer."""
        if layer.operation == "AC":
            return layer.used * (self.add + self.event + self.weight)
        bits = REAL_BITS if layer.levels is None else layer.levels.bit_length()
        return layer.dense * (bits * self.move + self.weight) + layer.used * bits * self.multiply
