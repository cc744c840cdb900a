"""Loihi: every spike and weight that meet as a synaptic operation of the chip."""

from __future__ import annotations

from typing import final

from zoo.contracts import EnergyModel, Operations, Picojoules, Prices


@final
class LoihiSynapses(EnergyModel):
    """Synaptic operations of Loihi, and arithmetic at 45 nm for the rest."""

    api_version = 1
    source = (
        "Davies and others, IEEE Micro 38(1), 2018, doi:10.1109/MM.2018.112130359, table 2 (Loihi, 14 nm, simulated "
        "before it was made); the rest: Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323 (45 nm)"
    )
    prices = "23.6 pJ a synaptic operation, the least that Loihi takes; else 4.6 pJ a MAC, 0.9 pJ an AC"
    charges = (
        "every spike and weight that meet as a synaptic operation of Loihi; everything else, all of the control too, "
        "as arithmetic-float32"
    )
    leaves_out = (
        "Loihi's updates of neurons and its routing of spikes, memory traffic of the rest, moving values between two "
        "chips of different technology; zeros of what is no spike, each of which is multiplied"
    )

    def estimate(self, operations: Operations) -> Picojoules:
        """Energy of one image."""
        return Prices(mac=4.6, ac=0.9, synapse=23.6).estimate(operations)
