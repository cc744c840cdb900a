"""Accuracy against spikes: a trained hybrid, trained on from its own weights at several prices of a spike.

The weight goes on for a few epochs, once for every penalty, all else equal; its control, the network without spikes,
goes on for as long. Each result is measured on all validation images, and profiled on some of them. Run it as

    python -m benchmarks.spike_frontier --data DIR     # the folder with train.npz and val.npz
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

import zoo
from benchmarks.common.reporting import RESULTS, Out, print_table, write_result
from benchmarks.common.validation import read_images
from zoo.catalog.files import default_catalog
from zoo.catalog.records import in_digits
from zoo.data import DataOptions, DataSplits, load_data
from zoo.errors import InputError
from zoo.profiling import profile
from zoo.training import Recipe, load_recipe, train

DEFAULT_WEIGHT = "has8_resnet_b8_m2_d4_ste_bpd.cifar10"
DEFAULT_PENALTIES = (0.0, 3.0, 60.0, 200.0)

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Budget:
    """The budget of each run.

    Attributes:
        images: training images, all classes alike; None for all.
        epochs: passes over them.
        recipe: whose settings are not changed here.
        learning_rate: the highest.
        seed: of the order of the images and of what is done to them.
        counted: validation images that spikes and energy are counted on, spread evenly over the split.
    """

    images: int | None
    epochs: int
    recipe: str
    learning_rate: float
    seed: int
    counted: int


def costs(reference: str, pixels: Tensor) -> dict[str, Any]:
    """Spikes and energy of a trained network; `ratios` is network over control, by energy model."""
    cost = profile(zoo.create_model(reference, pretrained=True), images=pixels)
    assert cost.activity is not None
    ratios = {each.name: each.ratio for each in cost.estimates if each.ratio is not None}
    return {
        "spike_rate": cost.activity.spike_rate,
        "ratios": ratios if cost.contains_control else None,
        "control": None if cost.control is None else cost.control.name,
    }


def finished_top1(out: Path, settings: Recipe) -> float | None:
    """Figures of a finished run in this folder; None without one.

    Raises:
        InputError: the run had other settings.
    """
    run = json.loads((out / "run.json").read_text(encoding="utf-8")) if (out / "run.json").is_file() else {}
    if "result" not in run:
        return None
    if run["settings"] != settings.model_dump(mode="json"):
        raise InputError(f"{out} holds a run with other settings; choose another --work, or the settings of that run")
    return float(run["result"]["top1"])


def go_on(weight: str, penalty: float, splits: DataSplits, work: Path, budget: Budget) -> tuple[str, float]:
    """A reference to what the weight became, and its top-1; a run that is in the folder already is gone on with."""
    changes = {
        "epochs": budget.epochs,
        "learning_rate": budget.learning_rate,
        "seed": budget.seed,
        "spike_penalty": penalty,
    }
    out = work / f"{weight}-{penalty:g}"
    top1 = finished_top1(out, load_recipe(budget.recipe, changes))
    if top1 is None:
        made = train(weight, splits, recipe=budget.recipe, changes=changes, out=out, resume=True, tag="on")
        top1 = made.metrics["top1"]
    return f"local-dir:{out}", top1


def released(weight: str, pixels: Tensor) -> dict[str, Any]:
    """The row of a weight as it is released; its accuracy is the catalog's, of the same validation images."""
    record = default_catalog().weight(zoo.parse_name(weight))
    return {"name": weight, "penalty": None, "top1": record.metrics["top1"], **costs(weight, pixels)}


def train_on(
    weight: str, penalty: float, splits: DataSplits, pixels: Tensor, work: Path, budget: Budget
) -> dict[str, Any]:
    """The row of a weight after these epochs."""
    reference, top1 = go_on(weight, penalty, splits, work, budget)
    return {"name": weight, "penalty": penalty, "top1": top1, **costs(reference, pixels)}


def measure_all(
    weight: str, penalties: Sequence[float], splits: DataSplits, pixels: Tensor, work: Path, budget: Budget
) -> Iterator[dict[str, Any]]:
    """The weight and its control as they are; then both after these epochs, the weight at every penalty."""
    begun = released(weight, pixels)
    control = begun["control"]
    yield begun
    yield released(control, pixels)
    yield train_on(control, 0.0, splits, pixels, work, budget)
    for penalty in penalties:
        yield train_on(weight, penalty, splits, pixels, work, budget)


def judge(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The most accurate result that spikes at most half as often as the weight did; none where there is none."""
    (begun,) = (row for row in rows if row["penalty"] is None and row["spike_rate"] is not None)
    halved = [row for row in rows if row["spike_rate"] is not None and row["spike_rate"] <= begun["spike_rate"] / 2]
    best = max(halved, key=lambda row: row["top1"], default=None)
    if best is None:
        return {"half_the_rate": None}
    return {
        "half_the_rate": best["penalty"],
        "share_of_the_rate": best["spike_rate"] / begun["spike_rate"],
        "top1_change": best["top1"] - begun["top1"],
    }


def show(rows: Sequence[Mapping[str, Any]], images: int) -> None:
    """Print the table."""
    lines = []
    for row in rows:
        rate = "no spikes" if row["spike_rate"] is None else f"{row['spike_rate']:.4f}"
        ratios = row["ratios"] or {}
        bounds = [in_digits(bound(ratios.values())) if ratios else "1" for bound in (min, max)]
        penalty = "as released" if row["penalty"] is None else f"{row['penalty']:g}"
        arithmetic = in_digits(ratios["arithmetic-float32"]) if ratios else "1"
        lines.append([row["name"], penalty, rate, f"{row['top1']:.2f} %", arithmetic, *bounds])
    columns = ["begins as", "spike penalty", "spike rate", "top-1", "energy, 32-bit arithmetic", "least", "most"]
    print_table(f"{images:,} validation images; energy is a multiple of the control's", columns, lines)


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Folder with train.npz and val.npz.")],
    weight: Annotated[str, typer.Option(help="variant.tag, a hybrid.")] = DEFAULT_WEIGHT,
    penalty: Annotated[list[float] | None, typer.Option(min=0, help="Weight of the spike rate in the loss.")] = None,
    images: Annotated[int | None, typer.Option(min=10, help="Training images.  (default: all)")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Of each run.")] = 3,
    recipe: Annotated[str, typer.Option(help="Whose other settings are used.")] = "bundled",
    learning_rate: Annotated[float, typer.Option(help="The highest.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="One run each.")] = 3407,
    counted: Annotated[int, typer.Option(min=1, help="Validation images that spikes are counted on.")] = 400,
    work: Annotated[Path | None, typer.Option(help="Keeps the runs, and goes on with them; else they go.")] = None,
    out: Out = RESULTS,
) -> None:
    """Train on, measure, print, write; exit status 1 where no penalty halves the spike rate."""
    torch.set_num_threads(1)
    budget = Budget(images, epochs, recipe, learning_rate, seed, counted)
    splits = load_data(data, DataOptions(limit=images))
    pixels, _ = read_images(data, counted)
    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        for row in measure_all(weight, penalty or DEFAULT_PENALTIES, splits, pixels, work or Path(scratch), budget):
            rows.append(row)
            typer.echo(f"{row['name']}, penalty {row['penalty']}: {row['top1']:.2f} %, spike rate {row['spike_rate']}")
    show(rows, len(splits.val))
    verdict = judge(rows)
    settings = asdict(budget) | {"settings": load_recipe(recipe).model_dump(mode="json")}
    content = {"settings": settings, "images": len(splits.val), "rows": rows, "verdict": verdict}
    typer.echo(f"wrote {write_result(out, 'spike_frontier', content)}")
    raise typer.Exit(0 if verdict["half_the_rate"] is not None else 1)


if __name__ == "__main__":
    app()
