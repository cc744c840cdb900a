"""Energy of an image from its operations, under published models.

Two are built in: arithmetic at 45 nm (Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323), in 32-bit floating point
and in 8-bit integers, and arithmetic with memory traffic. Others come from distributions, through the entry-point group
`zoo.energy_models`: each names a subclass of `EnergyMeter`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from typing import Any, ClassVar, final

from torch import Tensor

from zoo.catalog.schema import EnergyRange, in_digits
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.price import Work
from zoo.profiling.activity import OperationCounts, Part, SynapticLayer
from zoo.registry import Registry

PJ_PER_MAC = 4.6
"""A 32-bit floating-point multiplication, 3.7 pJ, and an addition."""
PJ_PER_AC = 0.9
"""A 32-bit floating-point addition."""

HOROWITZ = "Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323 (45 nm)"
SOURCE = "Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323 (45 nm, 32-bit floating point)"
FORMULA = f"energy = {PJ_PER_MAC} pJ × MACs + {PJ_PER_AC} pJ × ACs: arithmetic alone, no memory traffic"

# 32-bit arithmetic, part by part ---------------------------------------------------------------------------------------


def energy_pj(work: Work) -> float:
    """Return the picojoules of so many multiply-accumulates and accumulates."""
    return PJ_PER_MAC * work.macs + PJ_PER_AC * work.acs


@final
@dataclass(frozen=True)
class Energy:
    """Energy of images by 32-bit arithmetic at 45 nm.

    Attributes:
        images: how many there were.
        work: of all of them together, by part.
    """

    images: int
    work: Mapping[Part, Work]

    @property
    def total(self) -> Work:
        """All parts, all images."""
        return sum(self.work.values(), Work())

    @property
    def pj(self) -> float:
        """Picojoules of one image, on average."""
        return energy_pj(self.total) / self.images

    def part_pj(self, part: Part) -> float:
        """Picojoules of one part of one image, on average."""
        return energy_pj(self.work[part]) / self.images

    def to_json(self) -> dict[str, Any]:
        """Picojoules of one image, and the operations of all images."""
        parts = {f"{part}_pj": self.part_pj(part) for part in Part}
        operations = {str(part): {"macs": self.work[part].macs, "acs": self.work[part].acs} for part in Part}
        return {"images": self.images, "total_pj": self.pj, **parts, "operations": operations}


def compare(ours: float, controls: float, what: str, control: str) -> str:
    """Say which costs more, in a sentence without its subject: `costs 5.2 times the energy of its control …`."""
    ratio = ours / controls
    saved = f": {1 - ratio:.0%} less" if ratio < 1 else ""
    return f"costs {in_digits(ratio)} times the {what} of its control {control}, which has no spikes{saved}"


def compare_range(bounds: EnergyRange, arithmetic: float, control: str) -> str:
    """Say the same of every model of energy: `costs 1.44 (arithmetic-int8) to 16.8 (loihi-synapses) times the …`."""
    return (
        f"costs {bounds.in_words} times the energy of its control {control}, which has no spikes, depending on the "
        f"model of energy; {in_digits(arithmetic)} times by 32-bit arithmetic alone"
    )


# Models of energy ------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class EnergyModel:
    """A published way to turn the work of a network into energy.

    Attributes:
        name: short and stable; records are kept under it.
        source: who published its prices, and its rules if they are not ours.
        prices: in words.
        charges: what it counts.
        leaves_out: what it does not count.
        saturates: True if energy grows more slowly than the number of spikes.
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
    """Energy of one image, on average.

    Attributes:
        total: all of it.
        spikes: the share of it that grows with the number of spikes.
        timesteps: the share of it that grows with T at the same spike rate.
    """

    total: float
    spikes: float
    timesteps: float


class EnergyMeter(ABC):
    """Measures one network under one or more models of energy.

    A plugin's subclass is named by an entry point of the group `zoo.energy_models`. A model that follows from our
    counts overrides `estimates` alone; one that runs the network itself overrides `measure` too.

    Example:
        >>> import torch, zoo
        >>> from zoo.profiling import EnergyMeter, EnergyModel, Prices
        >>> class Halved(EnergyMeter):
        ...     models = (EnergyModel("halved", "nobody", "2.3 pJ a MAC, 0.45 pJ an AC", "every operation", "memory"),)
        ...
        ...     def estimates(self, counts):
        ...         return {"halved": Prices(2.3, 0.45, 0.45).estimate(counts)}

    Attributes:
        models: those that it knows.
    """

    models: ClassVar[tuple[EnergyModel, ...]]

    def __init__(self, network: ImageClassifier) -> None:
        self.network = network

    def measure(self, images: Tensor) -> None:  # noqa: B027 (a model of our counts needs no images)
        """Watch a batch (N, C, H, W) go through the network; called once for each batch."""

    @abstractmethod
    def estimates(self, counts: OperationCounts) -> Mapping[str, Picojoules | str]:
        """Return each model's energy of one image, by its name, or a sentence on why it does not run on this network.

        Args:
            counts: our own counts of all images that were measured.
        """


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
        """Price work that no spike sets off."""
        return self.mac * work.macs + self.ac * work.acs

    def layer(self, layer: SynapticLayer) -> float:
        """Price a convolution or linear layer.

        A spike is read once; for each of its weights the weight is read, and the membrane potential read and written. A
        multiply-accumulate reads a weight and an input, and an output is written once (Lemaire and others, 2022).
        """
        if layer.operation == "AC":
            return self.synapse * layer.used + self.access * (layer.nonzero + 3 * layer.used)
        return self.mac * layer.dense + self.access * (2 * layer.dense + layer.outputs)

    def estimate(self, counts: OperationCounts) -> Picojoules:
        """Return the energy of an image from the counts of all images."""
        potentials = 2 * self.access * sum(rate.values for rate in counts.rates if not rate.encoder)
        spikes = self.access * sum(rate.spikes for rate in counts.rates)
        elementwise = self.arithmetic(sum(counts.elementwise.values(), Work()))
        total = sum(map(self.layer, counts.synapses)) + potentials + spikes + elementwise
        by_spikes = sum(self.layer(layer) for layer in counts.synapses if layer.operation == "AC") + spikes
        by_time = sum(self.layer(layer) for layer in counts.synapses if layer.branch == "spiking")
        by_time += potentials + spikes + self.arithmetic(counts.repeated)
        return Picojoules(total / counts.images, by_spikes / counts.images, by_time / counts.images)


@final
class ArithmeticMeter(EnergyMeter):
    """Arithmetic at 45 nm, without memory traffic and with it."""

    models = (
        EnergyModel(
            "arithmetic-float32",
            HOROWITZ,
            "4.6 pJ a MAC, 0.9 pJ an AC",
            "every operation, in 32-bit floating point",
            "memory traffic, state of neurons, leakage",
        ),
        EnergyModel(
            "arithmetic-int8",
            HOROWITZ,
            "0.23 pJ a MAC (multiplication 0.2, addition 0.03), 0.03 pJ an AC",
            "every operation, as if in 8-bit integers, accumulators too",
            "memory traffic, state of neurons, leakage, wider accumulators, what quantising costs in accuracy",
        ),
        EnergyModel(
            "memory-float32",
            f"{HOROWITZ}; an access: Han and others, 2015, arXiv:1506.02626, figure 1 (45 nm); what is accessed: after "
            "Lemaire and others, 2022, arXiv:2210.13107",
            "arithmetic-float32, and 5 pJ for a 32-bit word of on-chip SRAM read or written",
            "beside arithmetic, for every spike and weight that meet: weight read, membrane potential read and "
            "written; for every MAC: weight and input read; outputs and spikes written once, spikes read once a layer; "
            "the potential of every neuron read and written in every timestep",
            "larger memories (DRAM: 640 pJ a word), reuse of what was read, addressing, traffic of pooling, additions, "
            "coders",
        ),
    )

    def estimates(self, counts: OperationCounts) -> Mapping[str, Picojoules]:
        """Price our counts."""
        return {
            "arithmetic-float32": Prices(PJ_PER_MAC, PJ_PER_AC, PJ_PER_AC).estimate(counts),
            "arithmetic-int8": Prices(0.23, 0.03, 0.03).estimate(counts),
            "memory-float32": Prices(PJ_PER_MAC, PJ_PER_AC, PJ_PER_AC, access=5.0).estimate(counts),
        }


def meter_types(registry: Registry | None = None) -> list[type[EnergyMeter]]:
    """Return the meters of all installed distributions, the built-in one first, then by name."""
    points = sorted(entry_points(group="zoo.energy_models"), key=lambda point: point.name)
    return [ArithmeticMeter, *(point.load() for point in points)]


# A network beside its control ------------------------------------------------------------------------------------------

CONTAINS_CONTROL = (
    "It contains its control and adds a spiking branch, so it is above it under every model, at every spike rate and T"
)
_ROUNDING = 1e-9


@final
@dataclass(frozen=True)
class Estimate:
    """The estimate of one model of energy.

    Attributes:
        model: which.
        network: of one image; None if the model does not run on it.
        control: the same of the network without spikes; None also if there is none.
        refusal: why the model does not run.
    """

    model: EnergyModel
    network: Picojoules | None
    control: Picojoules | None
    refusal: str = ""

    @property
    def ratio(self) -> float | None:
        """Network over control."""
        if self.network is None or self.control is None or not self.control.total:
            return None
        return self.network.total / self.control.total

    def to_json(self) -> dict[str, Any]:
        """One JSON object; picojoules of one image."""
        return {
            **asdict(self.model),
            "network_pj": None if self.network is None else self.network.total,
            "control_pj": None if self.control is None else self.control.total,
            "ratio": self.ratio,
            "does_not_run": self.refusal or None,
        }


def estimate_all(counts: Sequence[OperationCounts], meters: Sequence[Sequence[EnergyMeter]]) -> tuple[Estimate, ...]:
    """Return every model's estimate of a network, and of its control if a second one is given.

    Args:
        counts: of the network, and of its control.
        meters: of each of them, the same meters in the same order.
    """
    answers = [
        {name: answer for meter in own for name, answer in meter.estimates(each).items()}
        for own, each in zip(meters, counts, strict=True)
    ]
    return tuple(
        _estimate(model, [answer[model.name] for answer in answers]) for meter in meters[0] for model in meter.models
    )


def _estimate(model: EnergyModel, answers: Sequence[Picojoules | str]) -> Estimate:
    refusal = next((answer for answer in answers if isinstance(answer, str)), "")
    network, control, *_ = (*(None if isinstance(answer, str) else answer for answer in answers), None)
    return Estimate(model, network, control, refusal)


def range_of(estimates: Sequence[Estimate]) -> EnergyRange | None:
    """Return microjoules by model, of those that run on both networks; None without a control."""
    models = {
        each.model.name: (each.network.total / 1e6, each.control.total / 1e6)
        for each in estimates
        if each.ratio is not None and each.network is not None and each.control is not None
    }
    return EnergyRange(models=models) if models else None


@final
@dataclass(frozen=True)
class BreakEven:
    """The point at which a network would cost what its control costs, under one model; the rest stays as it is.

    Attributes:
        model: its name.
        spike_rate: spikes per neuron and timestep at today's T; all layers' spikes change alike, encoders' too.
        spike_rate_note: why there is none, or that it is a bound.
        timesteps: T at today's spike rate.
        timesteps_note: why there is none.
    """

    model: str
    spike_rate: float | None
    spike_rate_note: str
    timesteps: float | None
    timesteps_note: str


def break_even(estimates: Sequence[Estimate], spike_rate: float, timesteps: int) -> tuple[BreakEven, ...]:
    """Find the break-even of every model that runs on both networks.

    Args:
        estimates: of `estimate_all`.
        spike_rate: today's, above 0.
        timesteps: today's T.
    """
    return tuple(_break_even(each, spike_rate, timesteps) for each in estimates if each.ratio is not None)


def _break_even(estimate: Estimate, rate: float, timesteps: int) -> BreakEven:
    network, control, model = estimate.network, estimate.control, estimate.model
    assert network is not None
    assert control is not None
    left = control.total - network.total
    wanted_rate, rate_note = _judge_rate(rate * (1 + left / network.spikes) if network.spikes else None)
    if wanted_rate is not None and model.saturates:
        rate_note = "at most" if wanted_rate < rate else "at least"
    by_time = timesteps * (1 + left / network.timesteps) if network.timesteps else None
    return BreakEven(model.name, wanted_rate, rate_note, *_judge_timesteps(by_time))


def _judge_rate(rate: float | None) -> tuple[float | None, str]:
    if rate is None:
        return None, "does not depend on spikes"
    if rate < 0:
        return None, "costs more even without a spike"
    if rate > 1:
        return None, "costs less at every rate"
    return rate, ""


def _judge_timesteps(timesteps: float | None) -> tuple[float | None, str]:
    if timesteps is None:
        return None, "does not depend on T"
    if timesteps < 0:
        return None, "what runs once costs more already"
    return timesteps, "less than one timestep" if timesteps < 1 - _ROUNDING else ""
