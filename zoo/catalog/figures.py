"""What the variants of our own catalog cost, as variants.csv beside registry.yaml says. Loads no torch."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import final

CLASSES, IMAGE_SIZE = 10, 32
"""Of the networks that were counted."""
COLUMNS = ("name", "params", "macs_per_timestep", "macs", "timesteps")


@final
@dataclass(frozen=True)
class VariantFigures:
    """What a variant costs with 10 classes, on an image of 32 pixels a side.

    Attributes:
        params: parameters.
        macs_per_timestep: analog + spiking / T, the paper's convention.
        macs: multiply-accumulates of all T timesteps.
        timesteps: T.
    """

    params: int
    macs_per_timestep: int
    macs: int
    timesteps: int


@cache
def variant_figures() -> dict[str, VariantFigures]:
    """Figures by the variant's name; a variant of a plugin has none. A test counts them anew."""
    text = resources.files("zoo.catalog").joinpath("variants.csv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines())
    return {row["name"]: VariantFigures(*(int(row[column]) for column in COLUMNS[1:])) for row in rows}
