"""What the variants of our own catalog cost, as variants.csv beside this file says. Loads no torch."""

from __future__ import annotations

import csv
from functools import cache
from importlib import resources

from zoo.catalog.schema import Figures

CLASSES, IMAGE_SIZE = 10, 32
"""Of the networks that were counted."""
COLUMNS = ("name", "params", "macs_per_timestep", "macs", "timesteps")


@cache
def variant_figures() -> dict[str, Figures]:
    """Figures by the variant's name; a variant of a plugin has none. A test counts them anew."""
    text = resources.files("zoo.catalog").joinpath("variants.csv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines())
    return {row["name"]: _figures(row) for row in rows}


def _figures(row: dict[str, str]) -> Figures:
    return Figures(image_size=IMAGE_SIZE, **{column: int(row[column]) for column in COLUMNS[1:]})
