"""`results.csv`: a row for every weight of this repository, each figure as its catalog states it.

It reads registry.yaml here and those of the plugins in this source tree, whatever is installed; it loads no torch.
"""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import typer

from benchmarks.common.reporting import RESULTS, ROOT, Out, write_beside
from zoo.catalog.controls import twin_in_words
from zoo.catalog.figures import Figures
from zoo.catalog.files import read_catalog
from zoo.catalog.records import Activity, WeightRecord

FILE = "results.csv"
STRENGTHS: tuple[str, ...] = (
    "as they are",
    "noise 0.05",
    "noise 0.1",
    "blur 0.6",
    "blur 1",
    "contrast 0.5",
    "contrast 0.25",
)
STRENGTHS += ("JPEG 30", "JPEG 10")
"""Top-1 on images that are made worse, as records have it."""
COLUMNS = (
    "name",
    "distribution",
    "dataset",
    "top1",
    "top5",
    "loss",
    "params",
    "macs_per_timestep",
    "macs",
    "timesteps",
    "image_size",
    *Activity.titles(),
    "energy_ratio",
    "energy_ratio_lowest",
    "energy_ratio_highest",
    "even_energy_ratio_lowest",
    "even_energy_ratio_highest",
    "control",
    "twin",
    "twin_energy_ratio_lowest",
    "twin_energy_ratio_highest",
    "additions_per_mac",
    "steps",
    "silenced",
    "mean_replaced",
    "calibration_error",
    *(strength.replace(" ", "_") for strength in STRENGTHS),
    "seed",
    "recipe",
    "sha256",
    "bytes",
)

app = typer.Typer(add_completion=False)


def catalogs(root: Path = ROOT) -> list[tuple[str, Path]]:
    """(distribution, its registry.yaml), the zoo's own first."""
    plugins = sorted(root.glob("plugins/*/*/registry.yaml"))
    return [
        (_distribution(root), root / "registry.yaml"),
        *((_distribution(file.parents[1]), file) for file in plugins),
    ]


def _distribution(folder: Path) -> str:
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["name"])


def rows(root: Path = ROOT) -> Iterator[dict[str, Any]]:
    """One for each weight: accuracy in percent, loss in nats, energy as multiples of the control's."""
    for distribution, file in catalogs(root):
        for records in read_catalog(file).weights.values():
            yield from (row_of(record, distribution) for record in records)


def row_of(record: WeightRecord, distribution: str) -> dict[str, Any]:
    """A record's figures; None for what it does not state.

    `energy_ratio` is by 32-bit arithmetic alone, on the images of its activity; the lowest and the highest are by any
    energy model that the record states; the even ones, and those beside the twin, by models that skip zeros on both
    sides. `additions_per_mac` is what a
    multiply-accumulate must cost for spikes to win over the twin, `steps` what happens one after the other.
    """
    bounds, activity = record.energy_range, record.activity
    return {
        "name": record.name,
        "distribution": distribution,
        "dataset": record.dataset,
        **{metric: record.metrics.get(metric) for metric in ("top1", "top5", "loss")},
        **{name: value for name, value in Figures.of(record).values().items() if name in COLUMNS},
        "energy_ratio": _quotient(activity.energy_uj, activity.control_energy_uj) if activity else None,
        **_bounds("energy_ratio", () if bounds is None else bounds.ratios),
        **_bounds("even_energy_ratio", () if bounds is None else bounds.even_ratios.values()),
        "control": record.control or None,
        "twin": twin_in_words(record) or None,
        **_bounds("twin_energy_ratio", () if bounds is None else bounds.twin_ratios.values()),
        "silenced": record.silenced.get("spiking"),
        "mean_replaced": record.mean_replaced,
        "calibration_error": record.calibration_error,
        **{strength.replace(" ", "_"): record.robustness.get(strength) for strength in STRENGTHS},
        "seed": record.seed,
        "recipe": record.recipe,
        "sha256": record.sha256,
        "bytes": record.size,
    }


def _bounds(figure: str, ratios: Collection[float]) -> dict[str, float | None]:
    """The lowest and the highest of these; None if there are none."""
    ends = (round(min(ratios), 3), round(max(ratios), 3)) if ratios else (None, None)
    return {f"{figure}_lowest": ends[0], f"{figure}_highest": ends[1]}


def _quotient(energy: float, control: float | None) -> float | None:
    return round(energy / control, 3) if control else None


def as_csv(root: Path = ROOT) -> str:
    """The whole file, with a line of the columns' names at its top."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows(root))
    return text.getvalue()


@app.command()
def main(out: Out = RESULTS) -> None:
    """Write results.csv from the catalogs of this source tree."""
    write_beside(out / FILE, as_csv().encode())
    typer.echo(f"wrote {out / FILE}")


if __name__ == "__main__":
    app()
