"""Energy of an image from its operations, at 45 nm (Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from zoo.catalog.schema import EnergyRange, in_digits
from zoo.contracts.price import Work
from zoo.profiling.rules import Part

PJ_PER_MAC = 4.6
"""A 32-bit floating-point multiplication, 3.7 pJ, and an addition."""
PJ_PER_AC = 0.9
"""A 32-bit floating-point addition."""

SOURCE = "Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323 (45 nm, 32-bit floating point)"
FORMULA = f"energy = {PJ_PER_MAC} pJ × MACs + {PJ_PER_AC} pJ × ACs: arithmetic alone, no memory traffic"


def energy_pj(work: Work) -> float:
    """Picojoules of so many multiply-accumulates and accumulates."""
    return PJ_PER_MAC * work.macs + PJ_PER_AC * work.acs


@final
@dataclass(frozen=True)
class Energy:
    """What images cost.

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
    """Which costs more, in a sentence without its subject: `costs 5.2 times the energy of its control …`."""
    ratio = ours / controls
    saved = f": {1 - ratio:.0%} less" if ratio < 1 else ""
    return f"costs {in_digits(ratio)} times the {what} of its control {control}, which has no spikes{saved}"


def compare_range(bounds: EnergyRange, arithmetic: float, control: str) -> str:
    """The same under every model of energy: `costs 1.44 (arithmetic-int8) to 16.8 (loihi-synapses) times the …`."""
    return (
        f"costs {bounds.in_words} times the energy of its control {control}, which has no spikes, depending on the "
        f"model of energy; {in_digits(arithmetic)} times by 32-bit arithmetic alone"
    )
