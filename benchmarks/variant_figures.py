"""zoo/catalog/variants.csv: parameters and operations of every variant of the catalog, counted anew from the networks.

`zoo list` shows them without building a network. Every variant has ten classes, and images of 32 pixels a side.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

import zoo
from benchmarks.common.reporting import ROOT
from zoo.catalog.figures import CLASSES, COLUMNS, IMAGE_SIZE
from zoo.files import replace_bytes
from zoo.profiling import count_cost

FILE = ROOT / "zoo" / "catalog" / "variants.csv"

app = typer.Typer(add_completion=False)


def count_variant(name: str) -> tuple[str | int, ...]:
    """A row of the file."""
    cost = count_cost(zoo.create_model(name, num_classes=CLASSES), IMAGE_SIZE)
    return name, cost.params, cost.macs_per_timestep, cost.macs, cost.timesteps


@app.command()
def main(out: Annotated[Path, typer.Option(help="The file to write.")] = FILE) -> None:
    """Count every variant of has8-zoo's own catalog; about four minutes on one core."""
    names = [name for name in zoo.list_models() if ":" not in name]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for number, name in enumerate(names, 1):
        writer.writerow(count_variant(name))
        typer.echo(f"{number}/{len(names)} {name}", err=True)
    replace_bytes(out, text.getvalue().encode())


if __name__ == "__main__":
    app()
