"""Loihi: every spike and weight that meet as a synaptic operation of the chip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

from zoo.profiling import EnergyMeter, EnergyModel, OperationCounts, Picojoules, Prices

LOIHI = EnergyModel(
    "loihi-synapses",
    "Davies and others, IEEE Micro 38(1), 2018, doi:10.1109/MM.2018.112130359, table 2 (Loihi, 14 nm, simulated before "
    "it was made); the rest: Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323 (45 nm)",
    "23.6 pJ a synaptic operation, the least that Loihi takes; else 4.6 pJ a MAC, 0.9 pJ an AC",
    "every spike and weight that meet as a synaptic operation of Loihi; everything else, all of the control too, as "
    "arithmetic-float32",
    "Loihi's updates of neurons and its routing of spikes, memory traffic of the rest, moving values between two chips "
    "of different technology",
)


@final
class LoihiMeter(EnergyMeter):
    """Prices our counts as `LOIHI` says."""

    models = (LOIHI,)

    def estimates(self, counts: OperationCounts) -> Mapping[str, Picojoules]:
        """Return the energy of an image."""
        return {LOIHI.name: Prices(mac=4.6, ac=0.9, synapse=23.6).estimate(counts)}
