"""spikingjelly's own models of energy, its own counters and prices, on networks of the zoo.

They watch the operations that run. A batch of one is doubled first: the zoo convolves a single small image twice, so
that it is rounded as in a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from spikingjelly.activation_based.op_counter import (
    SimpleEnergyProfiler,
    SpikeSimEnergyConfig,
    SpikeSimEnergyReport,
    estimate_spikesim_energy,
)
from torch import Tensor

from zoo.contracts import ImageClassifier
from zoo.profiling import EnergyMeter, EnergyModel, OperationCounts, Picojoules

_HOROWITZ = "Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323 (45 nm)"
_PACKAGE = "spikingjelly's op_counter (2.0)"
_SPIKESIM = "Moitra and others, IEEE TCAD 2023, doi:10.1109/TCAD.2023.3274918 (SpikeSim, 65 nm)"

COMPUTE = EnergyModel(
    "spikingjelly-compute",
    f"{_PACKAGE}, SimpleEnergyProfiler; prices: {_HOROWITZ}",
    "4.6 pJ a MAC, 0.9 pJ an AC",
    "the operations that it has rules for, batch norms too; a layer whose inputs of a batch are all 0 or 1 as spiking; "
    "its own sum over the output of every spiking convolution",
    "memory traffic, what it has no rule for",
)
WITH_MEMORY = EnergyModel(
    "spikingjelly-memory",
    f"{_PACKAGE}, SimpleEnergyProfiler; prices: {_HOROWITZ}; 3.12 pJ a bit after STEP, openreview SzwU2XrXIS",
    "spikingjelly-compute, and 24.96 pJ for a byte of weights and biases read",
    "a weight read for every spike and weight that meet, or for every MAC",
    "state of neurons (ours keep none between calls, where it looks for it), activations, spikes, addressing",
)
DENSE = EnergyModel(
    "spikesim-dense",
    f"{_PACKAGE}, SpikeSim; {_SPIKESIM}",
    "SpikeSim's, for RRAM crossbars of 64 × 64",
    "cycles of processing elements in convolutions, whether anything spikes or not",
    "everything but convolutions, so linear layers too; what analog inputs need beyond spikes",
)
EVENT = EnergyModel(
    "spikesim-event",
    f"{_PACKAGE}, SpikeSim by events, which spikingjelly defines itself; {_SPIKESIM}",
    "SpikeSim's, for RRAM crossbars of 64 × 64",
    "of these cycles, where a convolution's input is 0 or 1, those that meet a spike",
    "everything but convolutions, so linear layers too; what analog inputs need beyond spikes",
    saturates=True,
)

_NOTHING = Picojoules(0.0, 0.0, 0.0)


@final
class SpikingjellyMeter(EnergyMeter):
    """Adds up the estimates of these models over the batches of one network, which is in eval mode in each."""

    models = (COMPUTE, WITH_MEMORY, DENSE, EVENT)

    def __init__(self, network: ImageClassifier) -> None:
        super().__init__(network)
        root = type(network).__name__
        self._scopes = tuple(f"{root}.{name}" for name in network.spiking_module_names)
        self._profiler = SimpleEnergyProfiler()
        self._profiler.bind_model(network)
        self._sums: dict[EnergyModel, Picojoules] = {}
        self._refusal = ""  # why SpikeSim does not run on this network, in spikingjelly's words

    def measure(self, images: Tensor) -> None:
        """Count a batch (N, C, H, W)."""
        alone = len(images) == 1
        batch = images.repeat(2, 1, 1, 1) if alone else images
        with self.network.evaluating():
            self._run_simple(batch, 0.5 if alone else 1.0)
            if not self._refusal:
                self._run_spikesim(batch, 0.5 if alone else 1.0)

    def estimates(self, counts: OperationCounts) -> Mapping[str, Picojoules | str]:
        """Return the averages of all images that were measured, or why SpikeSim does not run."""
        averages: dict[str, Picojoules | str] = {
            model.name: Picojoules(pj.total / counts.images, pj.spikes / counts.images, pj.timesteps / counts.images)
            for model, pj in self._sums.items()
        }
        return averages | (dict.fromkeys((DENSE.name, EVENT.name), self._refusal) if self._refusal else {})

    def _add(self, model: EnergyModel, share: float, total: float, spikes: float, timesteps: float) -> None:
        before = self._sums.get(model, _NOTHING)
        self._sums[model] = Picojoules(
            before.total + share * total, before.spikes + share * spikes, before.timesteps + share * timesteps
        )

    def _run_simple(self, batch: Tensor, share: float) -> None:
        profiler, cost = self._profiler, self._profiler.config.cost_config
        with profiler:
            self.network(batch)
        report = profiler.get_report()
        macs, acs = profiler.mac_counter.get_counts(), profiler.ac_counter.get_counts()
        synapses = profiler.synop_counter.get_total()
        compute = self._inside(macs) * cost.e_mac_pj + self._inside(acs) * cost.e_ac_pj
        by_spikes = synapses * cost.e_ac_pj
        self._add(COMPUTE, share, report.energy_compute_pj, by_spikes, compute)
        word = next(self.network.parameters()).element_size()
        read = self._inside(profiler.memory_counter.get_counts())
        self._add(
            WITH_MEMORY,
            share,
            report.energy_total_pj,
            by_spikes + synapses * word * cost.e_memory_pj_per_byte,
            compute + read * cost.e_memory_pj_per_byte,
        )

    def _inside(self, counts: Mapping[str, Mapping[Any, int]]) -> int:
        """Sum the counts of the spiking branch, given by scope.

        A scope holds what the scopes inside it hold; one that only groups others, such as `stages`, is never entered.
        """
        outermost: list[str] = []
        for scope in sorted(counts, key=lambda name: name.count(".")):
            if self._is_spiking(scope) and not f"{scope}.".startswith(tuple(f"{outer}." for outer in outermost)):
                outermost.append(scope)
        return sum(sum(counts[scope].values()) for scope in outermost)

    def _is_spiking(self, scope: str) -> bool:
        return f"{scope}.".startswith(tuple(f"{name}." for name in self._scopes))

    def _run_spikesim(self, batch: Tensor, share: float) -> None:
        try:
            config = SpikeSimEnergyConfig(activity_mode="event")
            report = estimate_spikesim_energy(self.network, batch, config=config)
        except (ValueError, NotImplementedError) as error:  # it raises these for networks outside its scope
            self._refusal = str(error).split(". ")[0].split(": ")[0]
            return
        event, dense = report.energy_by_stage, _dense_by_stage(report)
        spiking = [stage for stage in event if self._is_spiking(stage)]
        driven = [stage for stage, about in report.stage_metadata.items() if about["event_driven_calls"]]
        self._add(DENSE, share, sum(dense.values()), 0.0, sum(dense[stage] for stage in spiking))
        by_spikes = sum(event[stage] for stage in driven)
        self._add(EVENT, share, report.energy_total_pj, by_spikes, sum(event[stage] for stage in spiking))


def _dense_by_stage(report: SpikeSimEnergyReport) -> dict[str, float]:
    """Return the energy of SpikeSim's dense mode, from the cycles that its other mode counts too."""
    return {
        stage: stats["dense_pe_cycle_count"]
        * report.config.pe_cycle_energy_for_kernel_pj(report.stage_metadata[stage]["kernel_size"])
        for stage, stats in report.event_stats_by_stage.items()
    }
