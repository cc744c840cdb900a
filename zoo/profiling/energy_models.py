"""Models of energy that follow from our own counts: what each charges, at whose prices, and what it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from zoo.contracts.energy import Picojoules, Prices
from zoo.profiling.activity import OperationCounts

HOROWITZ = "Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323 (45 nm)"


@final
@dataclass(frozen=True)
class EnergyModel:
    """How energy follows from what a network does.

    Attributes:
        name: short and stable; records are kept under it.
        source: who published its prices, and its rules where they are not ours.
        prices: in words.
        charges: what it counts.
        leaves_out: what it does not.
        saturates: whether energy grows more slowly than the number of spikes.
    """

    name: str
    source: str
    prices: str
    charges: str
    leaves_out: str
    saturates: bool = False


ARITHMETIC = EnergyModel(
    "arithmetic-float32",
    HOROWITZ,
    "4.6 pJ a MAC, 0.9 pJ an AC",
    "every operation, in 32-bit floating point",
    "memory traffic, state of neurons, leakage",
)
ARITHMETIC_INT8 = EnergyModel(
    "arithmetic-int8",
    HOROWITZ,
    "0.23 pJ a MAC (multiplication 0.2, addition 0.03), 0.03 pJ an AC",
    "every operation, as if in 8-bit integers, accumulators too",
    "memory traffic, state of neurons, leakage, wider accumulators, what quantising costs in accuracy",
)
MEMORY = EnergyModel(
    "memory-float32",
    f"{HOROWITZ}; an access: Han and others, 2015, arXiv:1506.02626, figure 1 (45 nm); what is accessed: after Lemaire "
    "and others, 2022, arXiv:2210.13107",
    "arithmetic-float32, and 5 pJ for a 32-bit word of on-chip SRAM read or written",
    "beside arithmetic, for every spike and weight that meet: weight read, membrane potential read and written; for "
    "every MAC: weight and input read; outputs and spikes written once, spikes read once a layer; the potential of "
    "every neuron read and written in every timestep",
    "larger memories (DRAM: 640 pJ a word), reuse of what was read, addressing, traffic of pooling, additions, coders",
)
LOIHI = EnergyModel(
    "loihi-synapses",
    "Davies and others, IEEE Micro 38(1), 2018, doi:10.1109/MM.2018.112130359, table 2 (Loihi, 14 nm, simulated before "
    f"it was made); the rest: {HOROWITZ}",
    "23.6 pJ a synaptic operation, the least that Loihi takes; else 4.6 pJ a MAC, 0.9 pJ an AC",
    "every spike and weight that meet as a synaptic operation of Loihi; everything else, all of the control too, as "
    "arithmetic-float32",
    "Loihi's updates of neurons and its routing of spikes, memory traffic of the rest, moving values between two chips "
    "of different technology",
)

OF_COUNTS: tuple[tuple[EnergyModel, Callable[[OperationCounts], Picojoules]], ...] = (
    (ARITHMETIC, Prices(4.6, 0.9, 0.9).estimate),
    (ARITHMETIC_INT8, Prices(0.23, 0.03, 0.03).estimate),
    (MEMORY, Prices(4.6, 0.9, 0.9, 5.0).estimate),
    (LOIHI, Prices(4.6, 0.9, 23.6).estimate),
)
"""Every model that needs nothing but our counts."""
