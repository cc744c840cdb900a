"""Count parameters and operations of every variant of registry.yaml, for zoo/catalog/variants.csv.

    python -m tools.variant_figures          # counts variants that the file lacks, and drops those no longer listed
    python -m tools.variant_figures --all    # counts all of them again, about four minutes

Every variant has ten classes, and images of 32 pixels a side.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Annotated

import typer

import zoo
from zoo.catalog.files import catalog_path, read_catalog
from zoo.files import replace_bytes
from zoo.profiling import count_cost

FILE = Path(zoo.__file__).parent / "catalog" / "variants.csv"
COLUMNS = ("name", "params", "macs_per_timestep", "macs", "timesteps")

app = typer.Typer(add_completion=False)


def count_variant(name: str) -> dict[str, str]:
    """A row of the file."""
    cost = count_cost(zoo.create_model(name, num_classes=10), 32)
    return {"name": name} | {column: str(getattr(cost, column)) for column in COLUMNS[1:]}


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="The file to write.")] = FILE,
    recount: Annotated[bool, typer.Option("--all", help="Count every variant again.")] = False,
) -> None:
    """Count the variants of has8-zoo's own catalog."""
    kept = {}
    if out.is_file() and not recount:
        with out.open(encoding="utf-8") as file:
            kept = {row["name"]: row for row in csv.DictReader(file)}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for name in read_catalog(catalog_path()).names:
        if name not in kept:
            typer.echo(f"counting {name}", err=True)
        writer.writerow(kept.get(name) or count_variant(name))
    replace_bytes(out, text.getvalue().encode())


if __name__ == "__main__":
    app()
