"""spikingjelly's own energy models, its own counters and prices, on networks of the zoo.

They watch the operations that run. `zoo.profile` folds thresholds first, so that every spike is 1.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from copy import deepcopy
from typing import Any, cast, final

from spikingjelly.activation_based import neuron
from spikingjelly.activation_based.op_counter import (
    LemaireEnergyConfig,
    LemaireEnergyProfiler,
    SimpleEnergyProfiler,
    SpikeSimEnergyConfig,
    SpikeSimEnergyReport,
    estimate_spikesim_energy,
)
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from zoo.blocks import IFNeuron, LIFNeuron, ParametricLIFNeuron, ScaledActivation, ScaledIdentity, only_definitions
from zoo.contracts import EnergyModel, ImageClassifier, Neuron, Operations, Picojoules
from zoo.errors import CompositionError

_HOROWITZ = "Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323 (45 nm)"
_PACKAGE = "spikingjelly's op_counter (2.0)"
SKIPS_SPIKES_ALONE = "zeros of what is no spike, each of which is multiplied"
_SPIKESIM = "Moitra and others, IEEE TCAD 2023, doi:10.1109/TCAD.2023.3274918 (SpikeSim, 65 nm)"


@contextmanager
def countable(network: nn.Module) -> Iterator[None]:
    """Hide the operations of the zoo's neurons and folded thresholds.

    spikingjelly knows nodes of its own alone, and ours have several forms.
    """
    hidden: list[AbstractContextManager[Any]] = []

    def enter(module: nn.Module, args: Any) -> None:
        hidden.append(_disable_current_modes())
        hidden[-1].__enter__()

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        hidden.pop().__exit__(None, None, None)

    with ExitStack() as stack:
        for module in network.modules():
            if isinstance(module, (Neuron, ScaledActivation, ScaledIdentity)):
                stack.callback(module.register_forward_pre_hook(enter).remove)
                stack.callback(module.register_forward_hook(leave).remove)
        yield


class _StandIn(neuron.BaseNode):
    """A node that spikingjelly knows, which fires as a neuron of the zoo."""

    def __init__(self, ours: nn.Module) -> None:
        super().__init__(step_mode="m")
        self.ours = ours

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        return cast(Tensor, self.ours(x, *args))

    def scaled(self, x: Tensor, scale: Tensor) -> Tensor:
        return self(x / scale) * scale


class _IntegrateAndFire(_StandIn, neuron.IFNode):
    """In place of an `if` neuron."""


class _Leaky(_StandIn, neuron.LIFNode):
    """In place of a `lif` neuron."""


class _OfLearnedLeak(_StandIn, neuron.ParametricLIFNode):
    """In place of a `plif` neuron."""


_NODES: dict[type[nn.Module], type[_StandIn]] = {
    IFNeuron: _IntegrateAndFire,
    LIFNeuron: _Leaky,
    ParametricLIFNeuron: _OfLearnedLeak,
}


def with_known_nodes(network: ImageClassifier) -> ImageClassifier:
    """Return a copy in which nodes of spikingjelly stand for the zoo's neurons."""
    copied = deepcopy(network)
    for name, module in list(copied.named_modules()):
        if type(module) in _NODES:
            copied.set_submodule(name, _NODES[type(module)](module))
    return copied


class Measured(EnergyModel, ABC):
    """Adds up what spikingjelly counts over the batches of one network, which is in eval mode in each."""

    def __init__(self, network: ImageClassifier) -> None:
        super().__init__(network)
        self._root = type(network).__name__
        self._scopes = tuple(f"{self._root}.{name}." for name in network.spiking_module_names)
        self._total = self._by_spikes = self._by_time = 0.0
        self.refusal = ""

    def measure(self, images: Tensor) -> None:
        """Count a batch (N, C, H, W)."""
        if self.refusal:
            return
        with self.network.evaluating(), only_definitions():
            energy = self.run(images)
        self._total += energy.total
        self._by_spikes += energy.spikes
        self._by_time += energy.timesteps

    @abstractmethod
    def run(self, images: Tensor) -> Picojoules:
        """Return the energy of all images of a batch."""

    def estimate(self, operations: Operations) -> Picojoules:
        """Energy of one image, averaged over all that were measured.

        Raises:
            CompositionError: spikingjelly cannot count this network.
        """
        if self.refusal:
            raise CompositionError(self.refusal)
        images = operations.images
        return Picojoules(self._total / images, self._by_spikes / images, self._by_time / images)

    def is_spiking(self, scope: str) -> bool:
        """Tell whether a scope of spikingjelly's counters lies in the spiking branch."""
        return f"{scope}.".startswith(self._scopes)


class Simple(Measured, ABC):
    """spikingjelly's `SimpleEnergyProfiler`."""

    def __init__(self, network: ImageClassifier) -> None:
        super().__init__(network)
        self._profiler = SimpleEnergyProfiler()
        self._profiler.bind_model(network)

    def run(self, images: Tensor) -> Picojoules:
        """Return the energy of all images of a batch."""
        profiler, cost = self._profiler, self._profiler.config.cost_config
        with profiler, countable(self.network):
            self.network(images)
        macs, acs = profiler.mac_counter.get_counts(), profiler.ac_counter.get_counts()
        synapses = profiler.synop_counter.get_total()
        compute = Picojoules(
            profiler.get_report().energy_compute_pj,
            synapses * cost.e_ac_pj,
            self._inside(macs) * cost.e_mac_pj + self._inside(acs) * cost.e_ac_pj,
        )
        return self._charge(compute, synapses)

    def _charge(self, compute: Picojoules, synapses: int) -> Picojoules:
        """Add what a model charges beside arithmetic, of a batch with so many synaptic operations."""
        return compute

    def _inside(self, counts: Mapping[str, Mapping[Any, int]]) -> int:
        """Sum the counts of the spiking branch, given by scope.

        A scope holds what the scopes inside it hold; one that only groups others, such as `stages`, is never entered.
        """
        outermost: list[str] = []
        for scope in sorted(counts, key=lambda name: name.count(".")):
            if self.is_spiking(scope) and not f"{scope}.".startswith(tuple(f"{outer}." for outer in outermost)):
                outermost.append(scope)
        return sum(sum(counts[scope].values()) for scope in outermost)


@final
class Compute(Simple):
    """Arithmetic by spikingjelly's own counts."""

    api_version = 1
    source = f"{_PACKAGE}, SimpleEnergyProfiler; prices: {_HOROWITZ}"
    prices = "4.6 pJ a MAC, 0.9 pJ an AC"
    charges = (
        "the operations that it has rules for, batch norms too; a layer whose inputs of a batch are all 0 or 1 as "
        "spiking; its own sum over the output of every spiking convolution"
    )
    leaves_out = f"memory traffic, what it has no rule for; {SKIPS_SPIKES_ALONE}"


@final
class Memory(Simple):
    """Arithmetic and reads of weights by spikingjelly's own counts."""

    api_version = 1
    source = f"{_PACKAGE}, SimpleEnergyProfiler; prices: {_HOROWITZ}; 3.12 pJ a bit after STEP, openreview SzwU2XrXIS"
    prices = "spikingjelly-compute, and 24.96 pJ for a byte of weights and biases read"
    charges = "a weight read for every spike and weight that meet, or for every MAC"
    leaves_out = (
        "state of neurons (ours keep none between calls, where it looks for it), activations, spikes, addressing; "
        f"{SKIPS_SPIKES_ALONE}"
    )

    def _charge(self, compute: Picojoules, synapses: int) -> Picojoules:
        profiler, per_byte = self._profiler, self._profiler.config.cost_config.e_memory_pj_per_byte
        word = next(self.network.parameters()).element_size()
        return Picojoules(
            profiler.get_report().energy_total_pj,
            compute.spikes + synapses * word * per_byte,
            compute.timesteps + self._inside(profiler.memory_counter.get_counts()) * per_byte,
        )


@final
class Lemaire(Measured):
    """spikingjelly's `LemaireEnergyProfiler`: integer arithmetic, addressing, and memory that costs by its size."""

    api_version = 1
    source = f"{_PACKAGE}, LemaireEnergyProfiler: Lemaire and others, 2022, arXiv:2210.13107"
    prices = (
        "0.1 pJ an addition and 3.1 pJ a multiplication of 32-bit integers; a 32-bit access by the size of its memory, "
        "10 pJ at 8 kB, 20 pJ at 32 kB, 100 pJ at 1 MB"
    )
    charges = (
        "convolutions, linear layers and neurons: arithmetic, addresses, and accesses to inputs, weights, potentials; "
        "a layer whose inputs of a batch are all 0 or 1 as spiking, any other with its zeros"
    )
    leaves_out = (
        "batch norms, pooling, additions, coders; outputs of layers without spikes in a network that has neurons; "
        f"{SKIPS_SPIKES_ALONE}"
    )

    def __init__(self, network: ImageClassifier) -> None:
        network = with_known_nodes(network)
        super().__init__(network)
        inside = [module for name, module in network.named_modules() if self.is_spiking(f"{self._root}.{name}")]
        layers = [module for module in inside if isinstance(module, (nn.Conv2d, nn.Linear))]
        parts = (network, nn.ModuleList(layers), nn.ModuleList(inside))
        self._profilers = [self._bind(part) for part in parts]

    @staticmethod
    def _bind(part: nn.Module) -> LemaireEnergyProfiler:
        profiler = LemaireEnergyProfiler(config=LemaireEnergyConfig(strict=False))
        profiler.bind_model(part)
        return profiler

    def run(self, images: Tensor) -> Picojoules:
        """Return the energy of all images of a batch, one by one: a memory is as large as what passes through it."""
        energies = [self._run_one(image) for image in images.split(1)]
        return Picojoules(*map(sum, zip(*energies, strict=True)))

    def _run_one(self, image: Tensor) -> list[float]:
        """Return total, share of spikes and share of timesteps of an image (1, C, H, W)."""
        with ExitStack() as stack, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Lemaire formulas do not support")  # said in `leaves_out`
            for profiler in self._profilers:
                stack.enter_context(profiler)
            self.network(image)
        return [profiler.get_report().total_pj for profiler in self._profilers]


class SpikeSim(Measured, ABC):
    """spikingjelly's SpikeSim, which knows some networks alone."""

    def __init__(self, network: ImageClassifier) -> None:
        super().__init__(with_known_nodes(network))

    def run(self, images: Tensor) -> Picojoules:
        """Return the energy of all images of a batch; 0 if SpikeSim refuses the network."""
        if not self.refusal:
            config = SpikeSimEnergyConfig(activity_mode="event")
            try:
                return self._charge(estimate_spikesim_energy(self.network, images, config=config))
            except (ValueError, NotImplementedError) as error:  # for networks outside its scope
                self.refusal = str(error).split(". ")[0].split(": ")[0]
        return Picojoules(0.0, 0.0, 0.0)

    @abstractmethod
    def _charge(self, report: SpikeSimEnergyReport) -> Picojoules:
        """Return the energy of a batch that SpikeSim has run by events."""


@final
class SpikeSimDense(SpikeSim):
    """SpikeSim's cycles, whether anything spikes or not."""

    api_version = 1
    source = f"{_PACKAGE}, SpikeSim; {_SPIKESIM}"
    prices = "SpikeSim's, for RRAM crossbars of 64 × 64"
    charges = "cycles of processing elements in convolutions, whether anything spikes or not"
    leaves_out = "everything but convolutions, so linear layers too; what analog inputs need beyond spikes"

    def _charge(self, report: SpikeSimEnergyReport) -> Picojoules:
        dense = {
            stage: stats["dense_pe_cycle_count"]
            * report.config.pe_cycle_energy_for_kernel_pj(report.stage_metadata[stage]["kernel_size"])
            for stage, stats in report.event_stats_by_stage.items()
        }
        repeated = sum(dense[stage] for stage in report.energy_by_stage if self.is_spiking(stage))
        return Picojoules(sum(dense.values()), 0.0, repeated)


@final
class SpikeSimEvent(SpikeSim):
    """SpikeSim's cycles that meet a spike."""

    api_version = 1
    source = f"{_PACKAGE}, SpikeSim by events, which spikingjelly defines itself; {_SPIKESIM}"
    prices = "SpikeSim's, for RRAM crossbars of 64 × 64"
    charges = "of these cycles, where a convolution's input is 0 or 1, those that meet a spike"
    leaves_out = (
        "everything but convolutions, so linear layers too; what analog inputs need beyond spikes; cycles of other "
        "convolutions run whether their input is 0 or not"
    )
    saturates = True

    def _charge(self, report: SpikeSimEnergyReport) -> Picojoules:
        event = report.energy_by_stage
        driven = [stage for stage, about in report.stage_metadata.items() if about["event_driven_calls"]]
        return Picojoules(
            report.energy_total_pj,
            sum(event[stage] for stage in driven),
            sum(energy for stage, energy in event.items() if self.is_spiking(stage)),
        )
