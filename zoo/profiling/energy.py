"""Energy of an image from its operations, under published models.

Built in: arithmetic at 45 nm (Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323), in 32-bit floating point and in
8-bit integers, and arithmetic with memory traffic. Others come from distributions, such as zoo-energy, through the
entry-point group `zoo.energy_models`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, final

from zoo.catalog import EnergyRange
from zoo.contracts.energy import EnergyModel, Operations, Picojoules, Prices
from zoo.errors import ComponentError, CompositionError, ZooWarning
from zoo.profiling.prices import Part
from zoo.profiling.recorder import OperationCounts
from zoo.registry import OURS, Registry, default_registry

HOROWITZ = "Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323 (45 nm)"
SOURCE = "Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323 (45 nm, 32-bit floating point)"
FLOAT32 = Prices(mac=4.6, ac=0.9, synapse=0.9)
"""32-bit floating point: a multiplication, 3.7 pJ, and an addition, 0.9 pJ."""
FORMULA = f"energy = {FLOAT32.mac} pJ × MACs + {FLOAT32.ac} pJ × ACs: arithmetic alone, no memory traffic"


def energy_json(counts: OperationCounts) -> dict[str, Any]:
    """Return picojoules of one image by 32-bit arithmetic, part by part, and the operations of all images."""
    work = counts.work()
    return {
        "images": counts.images,
        "total_pj": FLOAT32.arithmetic(counts.total) / counts.images,
        **{f"{part}_pj": FLOAT32.arithmetic(work[part]) / counts.images for part in Part},
        "operations": {str(part): asdict(work[part]) for part in Part},
        "pj_per_mac": FLOAT32.mac,
        "pj_per_ac": FLOAT32.ac,
        "formula": FORMULA,
        "source": SOURCE,
    }


# Models of energy -----------------------------------------------------------------------------------------------------


class _Priced(EnergyModel):
    """Energy from the counted operations alone."""

    api_version = 1
    source = HOROWITZ
    costs: ClassVar[Prices]

    @final
    def estimate(self, operations: Operations) -> Picojoules:
        """Energy of one image."""
        return self.costs.estimate(operations)


@final
class ArithmeticFloat32(_Priced):
    """Arithmetic in 32-bit floating point."""

    costs = FLOAT32
    prices = "4.6 pJ a MAC, 0.9 pJ an AC"
    charges = "every operation, in 32-bit floating point"
    leaves_out = "memory traffic, state of neurons, leakage"


@final
class ArithmeticInt8(_Priced):
    """Arithmetic in 8-bit integers."""

    costs = Prices(0.23, 0.03, 0.03)
    prices = "0.23 pJ a MAC (multiplication 0.2, addition 0.03), 0.03 pJ an AC"
    charges = "every operation, as if in 8-bit integers, accumulators too"
    leaves_out = "memory traffic, state of neurons, leakage, wider accumulators, what quantising costs in accuracy"


@final
class MemoryFloat32(_Priced):
    """Arithmetic in 32-bit floating point, and traffic to on-chip memory."""

    costs = replace(FLOAT32, access=5.0)
    source = (
        f"{HOROWITZ}; an access: Han and others, 2015, arXiv:1506.02626, figure 1 (45 nm); what is accessed: after "
        "Lemaire and others, 2022, arXiv:2210.13107"
    )
    prices = "arithmetic-float32, and 5 pJ for a 32-bit word of on-chip SRAM read or written"
    charges = (
        "beside arithmetic, for every spike and weight that meet: weight read, membrane potential read and written; "
        "for every MAC: weight and input read; outputs and spikes written once, spikes read once a layer; the "
        "potential of every neuron read and written in every timestep"
    )
    leaves_out = (
        "larger memories (DRAM: 640 pJ a word), reuse of what was read, addressing, traffic of pooling, additions, "
        "coders"
    )


def energy_models(registry: Registry | None = None) -> dict[str, type[EnergyModel]]:
    """Return the models of all installed distributions by name, the zoo's own first.

    One that cannot be used is left out with a warning.
    """
    registry = registry or default_registry()
    ours = {each.name for each in registry.components("energy_model") if each.distribution == OURS}
    models = {}
    for name in sorted(registry.plain_names("energy_model"), key=lambda name: (name not in ours, name)):
        try:
            models[name] = registry.load("energy_model", name)
        except ComponentError as error:
            warnings.warn(f"the model of energy {name} is left out: {error}", ZooWarning, stacklevel=2)
    return models


def describe_model(name: str, model: type[EnergyModel]) -> dict[str, Any]:
    """Return name, source, prices and scope of a model, as JSON."""
    keys = ("source", "prices", "charges", "leaves_out", "saturates")
    return {"name": name, **{key: getattr(model, key) for key in keys}}


# A network beside its control -----------------------------------------------------------------------------------------

CONTAINS_CONTROL = (
    "It contains its control and adds a spiking branch, so it costs more under every model, at every spike rate and T"
)
_ROUNDING = 1e-9


@final
@dataclass(frozen=True)
class Estimate:
    """One model's energy of an image, of a network and of its control.

    Either is None if the model does not run on it; `refusal` then says why the network's is.
    """

    name: str
    model: type[EnergyModel]
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
            **describe_model(self.name, self.model),
            "network_pj": self.network and self.network.total,
            "control_pj": self.control and self.control.total,
            "ratio": self.ratio,
            "does_not_run": self.refusal or None,
        }


def estimate_all(
    counts: Sequence[OperationCounts], models: Sequence[Mapping[str, EnergyModel]]
) -> tuple[Estimate, ...]:
    """Return every model's estimate from counts and models of a network, and of its control if there is one."""
    estimates = []
    for name, model in models[0].items():
        energies: list[Picojoules | None] = []
        refusal = ""
        for own, each in zip(models, counts, strict=True):
            try:
                energies.append(own[name].estimate(each))
            except CompositionError as error:
                energies.append(None)
                refusal = refusal or str(error)
        network, control = (*energies, None)[:2]
        estimates.append(Estimate(name, type(model), network, control, refusal))
    return tuple(estimates)


def range_of(estimates: Sequence[Estimate]) -> EnergyRange | None:
    """Return microjoules by model, of those that run on both networks; None without a control."""
    models = {
        each.name: (each.network.total / 1e6, each.control.total / 1e6)
        for each in estimates
        if each.network and each.control and each.control.total
    }
    return EnergyRange(models=models) if models else None


@final
@dataclass(frozen=True)
class BreakEven:
    """Spike rate at today's T, and T at today's spike rate, at which a network would cost what its control costs.

    Spikes of all layers change alike, encoders' too. A note says why there is no such point, or that it is a bound.
    """

    model: str
    spike_rate: float | None
    spike_rate_note: str
    timesteps: float | None
    timesteps_note: str


def break_even(estimates: Sequence[Estimate], spike_rate: float, timesteps: int) -> tuple[BreakEven, ...]:
    """Find the break-even of every model that runs on both networks, from today's spike rate, above 0, and T."""
    points = []
    for estimate in estimates:
        network, control = estimate.network, estimate.control
        if not (network and control and control.total):
            continue
        left = control.total - network.total
        rate = spike_rate * (1 + left / network.spikes) if network.spikes else None
        time = timesteps * (1 + left / network.timesteps) if network.timesteps else None
        rate_note = time_note = ""
        if rate is None:
            rate_note = "does not depend on spikes"
        elif rate < 0:
            rate, rate_note = None, "costs more even without a spike"
        elif rate > 1:
            rate, rate_note = None, "costs less at every rate"
        elif estimate.model.saturates:
            rate_note = "at most" if rate < spike_rate else "at least"
        if time is None:
            time_note = "does not depend on T"
        elif time < 0:
            time, time_note = None, "what runs once costs more already"
        elif time < 1 - _ROUNDING:
            time_note = "less than one timestep"
        points.append(BreakEven(estimate.name, rate, rate_note, time, time_note))
    return tuple(points)
