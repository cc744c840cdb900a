"""A network beside its control under every model of energy, and where the two would be equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

from zoo.catalog.schema import EnergyRange
from zoo.contracts.energy import Picojoules
from zoo.profiling.activity import OperationCounts
from zoo.profiling.energy_models import OF_COUNTS, EnergyModel
from zoo.profiling.spikingjelly_energy import MODELS, SpikingjellyMeter

_ROUNDING = 1e-9

CONTAINS_CONTROL = (
    "It contains its control and adds a spiking branch, so it is above it under every model, at every spike rate and T"
)


@final
@dataclass(frozen=True)
class Estimate:
    """What one model of energy says.

    Attributes:
        model: which.
        network: of one image; None where the model does not run on it.
        control: the same of the network without spikes; None also where there is none.
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


@final
@dataclass(frozen=True)
class BreakEven:
    """Where a network would cost what its control costs, under one model; what else it does stays as it was.

    Attributes:
        model: its name.
        spike_rate: spikes per neuron and timestep at today's T; all layers' spikes change alike, encoders' too.
        spike_rate_note: why there is none, or whether it is a bound.
        timesteps: T at today's spike rate.
        timesteps_note: why there is none.
    """

    model: str
    spike_rate: float | None
    spike_rate_note: str
    timesteps: float | None
    timesteps_note: str


def estimate_all(counts: Sequence[OperationCounts], meters: Sequence[SpikingjellyMeter]) -> tuple[Estimate, ...]:
    """Every model's word on a network, and on its control where a second one is given."""
    own = [Estimate(model, *_pair([estimate(each) for each in counts])) for model, estimate in OF_COUNTS]
    averages = [meter.averages(each.images) for meter, each in zip(meters, counts, strict=True)]
    theirs = []
    for model in MODELS:
        refusal = next((meter.refusals[model] for meter in meters if model in meter.refusals), "")
        theirs.append(Estimate(model, *_pair([average.get(model) for average in averages]), refusal))
    return (*own, *theirs)


def _pair(values: Sequence[Picojoules | None]) -> tuple[Picojoules | None, Picojoules | None]:
    return (values[0], values[1] if len(values) > 1 else None)


def range_of(estimates: Sequence[Estimate]) -> EnergyRange | None:
    """Microjoules by model, of those that run on both networks; None without a control."""
    models = {
        each.model.name: (each.network.total / 1e6, each.control.total / 1e6)
        for each in estimates
        if each.ratio is not None and each.network is not None and each.control is not None
    }
    return EnergyRange(models=models) if models else None


# Break-even -----------------------------------------------------------------------------------------------------------


def break_even(estimates: Sequence[Estimate], spike_rate: float, timesteps: int) -> tuple[BreakEven, ...]:
    """For every model that runs on both networks.

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
    by_rate = rate * (1 + left / network.spikes) if network.spikes else None
    by_time = timesteps * (1 + left / network.timesteps) if network.timesteps else None
    wanted_rate, rate_note = _judge_rate(by_rate)
    if wanted_rate is not None and model.saturates:
        rate_note = "at most" if wanted_rate < rate else "at least"
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
