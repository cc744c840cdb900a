"""Models of energy that follow from our own counts: what each charges, at whose prices, and what it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from zoo.contracts.price import Work
from zoo.profiling.activity import OperationCounts, SynapticLayer

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


@final
@dataclass(frozen=True)
class Picojoules:
    """Of one image, on average.

    Attributes:
        total: all of it.
        spikes: the share of it that grows with the number of spikes.
        timesteps: the share of it that grows with T where the spike rate stays.
    """

    total: float
    spikes: float
    timesteps: float


@final
@dataclass(frozen=True)
class Prices:
    """Picojoules.

    Attributes:
        mac: a multiply-accumulate.
        ac: an accumulate.
        synapse: an accumulate in a convolution or linear layer that a spike sets off.
        access: a 32-bit word read from memory or written to it.
    """

    mac: float
    ac: float
    synapse: float
    access: float = 0.0

    def arithmetic(self, work: Work) -> float:
        """Of work that no spike sets off."""
        return self.mac * work.macs + self.ac * work.acs

    def layer(self, layer: SynapticLayer) -> float:
        """Of a convolution or linear layer.

        A spike is read once; for each of its weights the weight is read, and the membrane potential read and written. A
        multiply-accumulate reads a weight and an input, and an output is written once (Lemaire and others, 2022).
        """
        if layer.operation == "AC":
            return self.synapse * layer.used + self.access * (layer.nonzero + 3 * layer.used)
        return self.mac * layer.dense + self.access * (2 * layer.dense + layer.outputs)

    def estimate(self, counts: OperationCounts) -> Picojoules:
        """Energy of an image from what all images set off."""
        potentials = 2 * self.access * sum(rate.values for rate in counts.rates if not rate.encoder)
        spikes = self.access * sum(rate.spikes for rate in counts.rates)
        elementwise = self.arithmetic(sum(counts.elementwise.values(), Work()))
        total = sum(map(self.layer, counts.synapses)) + potentials + spikes + elementwise
        by_spikes = sum(self.layer(layer) for layer in counts.synapses if layer.operation == "AC") + spikes
        by_time = sum(self.layer(layer) for layer in counts.synapses if layer.branch == "spiking")
        by_time += potentials + spikes + self.arithmetic(counts.repeated)
        return Picojoules(total / counts.images, by_spikes / counts.images, by_time / counts.images)


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
