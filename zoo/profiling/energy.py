"""Energy of an image under every installed model, of a network beside its control and its twin.

The zoo's own models are in zoo/profiling/arithmetic.py; others come from distributions, such as zoo-energy, through the
entry-point group `zoo.energy_models`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

from zoo.catalog.records import EnergyRange
from zoo.contracts.energy import EnergyModel, Picojoules
from zoo.errors import ComponentError, CompositionError, ZooWarning
from zoo.profiling.arithmetic import FLOAT32, FORMULA, SOURCE
from zoo.profiling.prices import Part
from zoo.profiling.recorder import OperationCounts
from zoo.registry.components import OURS, Registry, default_registry


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


# Energy models --------------------------------------------------------------------------------------------------------


def energy_models(registry: Registry | None = None) -> dict[str, type[EnergyModel]]:
    """Return the models of all installed packages by name, the zoo's own first.

    One that cannot be used is left out with a warning.
    """
    registry = registry or default_registry()
    ours = {component.name for component in registry.components("energy_model") if component.distribution == OURS}
    models = {}
    for name in sorted(registry.plain_names("energy_model"), key=lambda name: (name not in ours, name)):
        try:
            models[name] = registry.choose("energy_model", name)
        except ComponentError as error:
            warnings.warn(f"the energy model {name} is left out: {error}", ZooWarning, stacklevel=2)
    return models


def describe_energy_model(name: str, model: type[EnergyModel]) -> dict[str, Any]:
    """Return name, source, prices and scope of a model, as JSON."""
    keys = ("source", "prices", "charges", "leaves_out", "saturates")
    return {"name": name, **{key: getattr(model, key) for key in keys}}


# A network beside its rivals -----------------------------------------------------------------------------------------

CONTAINS_CONTROL = (
    "It contains its control and adds a spiking branch, so it costs more under every model that charges zeros, at "
    "every spike rate and T"
)
_ROUNDING = 1e-9


@final
@dataclass(frozen=True)
class Estimate:
    """One model's energy of an image, of a network, of its control, and of its twin.

    Each is None if the model does not run on it, or if there is no such network; `refusal` says why the first does not.
    """

    name: str
    model: type[EnergyModel]
    network: Picojoules | None
    control: Picojoules | None
    refusal: str = ""
    twin: Picojoules | None = None

    @property
    def ratio(self) -> float | None:
        """Network over control."""
        return _ratio(self.network, self.control)

    @property
    def twin_ratio(self) -> float | None:
        """Network over twin."""
        return _ratio(self.network, self.twin)

    def to_json(self) -> dict[str, Any]:
        """One JSON object; picojoules of one image."""
        return {
            **describe_energy_model(self.name, self.model),
            "network_pj": self.network and self.network.total,
            "control_pj": self.control and self.control.total,
            "twin_pj": self.twin and self.twin.total,
            "ratio": self.ratio,
            "twin_ratio": self.twin_ratio,
            "does_not_run": self.refusal or None,
        }


def _ratio(one: Picojoules | None, other: Picojoules | None) -> float | None:
    return one.total / other.total if one and other and other.total else None


@final
@dataclass(frozen=True)
class Observation:
    """Operations of a network on images, and the energy models that have watched it."""

    counts: OperationCounts
    models: Mapping[str, EnergyModel]


def estimate_all(
    network: Observation, control: Observation | None = None, twin: Observation | None = None
) -> tuple[Estimate, ...]:
    """Return every model's estimate of a network and of its rivals."""
    estimates = []
    for name, model in network.models.items():
        own, refusal = _estimate(network, name)
        theirs, other_refusal = _estimate(control, name)
        estimates.append(
            Estimate(name, type(model), own, theirs, refusal or other_refusal, twin=_estimate(twin, name)[0])
        )
    return tuple(estimates)


def _estimate(measured: Observation | None, name: str) -> tuple[Picojoules | None, str]:
    """Return a model's energy, or None and why it does not run."""
    if measured is None:
        return None, ""
    try:
        return measured.models[name].estimate(measured.counts), ""
    except CompositionError as error:
        return None, str(error)


def range_of(estimates: Sequence[Estimate]) -> EnergyRange | None:
    """Return microjoules by model, of those that run on both networks; None without a control."""
    models, twin, refused = {}, {}, {}
    skips_zeros = tuple(estimate.name for estimate in estimates if estimate.model.skips_zeros)
    for estimate in estimates:
        if estimate.network and estimate.control and estimate.control.total:
            models[estimate.name] = estimate.network.total / 1e6, estimate.control.total / 1e6
        if estimate.twin:
            twin[estimate.name] = estimate.twin.total / 1e6
        if estimate.refusal:
            refused[estimate.name] = estimate.refusal
    if not models:
        return None
    return EnergyRange(models=models, twin=twin, skips_zeros=skips_zeros, does_not_run=refused)


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
        if network and control and control.total:
            left = control.total - network.total
            rate = _equal_rate(left, network, spike_rate, estimate.model.saturates)
            points.append(BreakEven(estimate.name, *rate, *_equal_timesteps(left, network, timesteps)))
    return tuple(points)


def _equal_rate(left: float, network: Picojoules, today: float, saturates: bool) -> tuple[float | None, str]:
    """Return the spike rate at which a network would use up what is left, and a note."""
    if not network.spikes:
        return None, "does not depend on spikes"
    rate = today * (1 + left / network.spikes)
    if rate < 0:
        return None, "costs more even without a spike"
    if rate > 1:
        return None, "costs less at every rate"
    if saturates:
        return rate, "at most" if rate < today else "at least"
    return rate, ""


def _equal_timesteps(left: float, network: Picojoules, today: int) -> tuple[float | None, str]:
    """Return the T at which a network would use up what is left, and a note."""
    if not network.timesteps:
        return None, "does not depend on T"
    timesteps = today * (1 + left / network.timesteps)
    if timesteps < 0:
        return None, "what runs once costs more already"
    return timesteps, "less than one timestep" if timesteps < 1 - _ROUNDING else ""
