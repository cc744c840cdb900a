"""Figures of a network, counted now or recorded: tables, JSON, cards and the site are views of them.

A figure of activity is a field of `Activity` with a title, and then in the record too; any other is a field of
`Figures`. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, final

from zoo.catalog.records import Activity, Counts, EnergyRange, StoredWeight


def in_units(value: int | float | None) -> str:
    """Write a number in three digits and a unit: `380k`, `29.5M`, `1.81G`; empty for None."""
    if value is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            scaled = value / size
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{unit}"
    return f"{value:g}"


def _figure(title: str, write: Callable[[Any], str] = "{:,}".format) -> Any:
    return field(default=None, metadata={"title": title, "write": write})


@final
@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures of a network; None, or nothing, for what is not known. Counts are those of `Counts`.

    Attributes:
        activity: operations on images, spike rates, energy by 32-bit arithmetic.
        energy_range: energies beside those of control and twin.
        additions_per_mac: additions that a multiply-accumulate of the twin must cost for spikes to win.
        steps: sequential steps of an image.
        top1: percent.
        energies: energy model → microjoules an image.
        does_not_run: energy model → why it gives no figure.
    """

    params: int | None = _figure("parameters", in_units)
    image_size: int | None = _figure("image size")
    timesteps: int | None = _figure("timesteps T")
    macs: int | None = _figure("MACs an image", in_units)
    macs_per_timestep: int | None = _figure("MACs a timestep", in_units)
    activity: Activity | None = None
    energy_range: EnergyRange | None = None
    additions_per_mac: float | None = None
    steps: int | None = _figure("sequential steps")
    top1: float | None = _figure("top-1, %", "{:.2f}".format)
    energies: Mapping[str, float] = field(default_factory=dict)
    does_not_run: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, weight: StoredWeight) -> Figures:
        """Return the figures of a weight's record."""
        energy = weight.energy_range
        own = cls(activity=weight.activity, top1=weight.metrics.get("top1"), energy_range=energy)
        if energy is not None:
            energies = {model: network for model, (network, _) in energy.models.items()}
            own = replace(own, energies=energies, does_not_run=energy.does_not_run)
            own = replace(own, steps=energy.steps, additions_per_mac=energy.additions_per_mac)
        return own.updated(weight.figures)

    def updated(self, counts: Counts | None) -> Figures:
        """Return the figures with other counts; None for unknown ones."""
        values: dict[str, Any] = counts.model_dump() if counts else dict.fromkeys(Counts.model_fields)
        return replace(self, **values)

    @property
    def energy_uj(self) -> float | None:
        """Microjoules an image, arithmetic at 45 nm; None if they are not known."""
        return self.activity.energy_uj if self.activity else self.energies.get("arithmetic-float32")

    def values(self) -> dict[str, float | None]:
        """Name of a figure → its value, as JSON has it."""
        rates = {name: getattr(self.activity, name, None) for name in Activity.titles()}
        return self.single() | rates | {"energy_uj": self.energy_uj}

    def single(self) -> dict[str, float | None]:
        """Name of a figure that is a number of its own → its value."""
        nested = ("activity", "energy_range", "energies", "does_not_run")
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in nested}

    def shown(self) -> dict[str, str]:
        """Heading → text, as tables have it; '' for a figure that is not known."""
        texts: dict[str, str] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name == "activity":
                texts |= value.shown() if value else dict.fromkeys(Activity.titles().values(), "")
            elif each.metadata:
                texts[each.metadata["title"]] = "" if value is None else each.metadata["write"](value)
        return texts
