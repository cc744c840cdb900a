"""Accuracy against energy, for networks of one training budget: at which energy each kind is ahead.

The networks are the runs that `python -m benchmarks.accuracy --work WORK` kept. Each is profiled once, on real images;
that is recorded beside its run, so that the folders may go afterwards. Run it as

    python -m benchmarks.accuracy.frontier --data DIR --work WORK     # --work is needed for runs without an energy
"""

from __future__ import annotations

import io
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

import zoo
from benchmarks.accuracy.runs import Ledger, Run, Spent, run_folder
from benchmarks.common.reporting import RESULTS, Out, print_table, write_beside, write_result
from benchmarks.common.seeds import summarise_seeds, tell_seeds
from benchmarks.common.validation import read_images
from zoo.errors import InputError
from zoo.inference.show import COLOURS
from zoo.profiling import profile

STYLES = {
    "ann": ("no spikes", "s", COLOURS["ann"]),
    "has8": ("hybrid", "o", COLOURS["has8"]),
    "snn": ("spikes alone, bit planes", "D", COLOURS["snn"]),
    "sew": ("spikes alone, SEW-ResNet-18", "^", COLOURS["sew"]),
}
"""Family → words, mark, colour."""

app = typer.Typer(add_completion=False)


def measure(run: Run, folder: Path, pixels: Tensor) -> Spent:
    """Profile what that run trained on images (N, 3, H, W) in [0, 1]."""
    cost = profile(zoo.create_model(f"local-dir:{folder}"), images=pixels)
    assert cost.energy_pj is not None
    rate = None if cost.activity is None else cost.activity.spike_rate
    return Spent(
        budget=run.budget,
        name=run.name,
        seed=run.seed,
        images=len(pixels),
        microjoules=cost.energy_pj / 1e6,
        spike_rate=rate,
    )


def choose_budget(runs: Iterable[Run], wanted: str | None) -> str:
    """The key of the one budget that there is, or the wanted one.

    Raises:
        InputError: there is none, or several and none is wanted.
    """
    keys = sorted({run.budget for run in runs})
    if wanted in keys:
        return wanted
    if wanted is None and len(keys) == 1:
        return keys[0]
    raise InputError(f"there are runs of {len(keys)} budgets: {', '.join(keys) or 'none'}; choose one by --budget")


def make_rows(ledger: Ledger, budget: str) -> list[dict[str, Any]]:
    """Every network of that budget with its figures, averaged over its seeds; the cheapest first."""
    found: dict[str, list[tuple[float, Spent]]] = {}
    for run in ledger.runs():
        spent = ledger.energy(run)
        if run.budget == budget and run.top1 is not None and spent is not None:
            found.setdefault(run.name, []).append((run.top1, spent))
    rows = [_average(name, runs) for name, runs in found.items()]
    return sorted(rows, key=lambda row: row["microjoules"])


def _average(name: str, runs: Sequence[tuple[float, Spent]]) -> dict[str, Any]:
    """All runs of a network as one row: the best of many seeds would make it look better than one run does."""
    return {
        "name": name,
        "family": name.partition("_")[0],
        "seeds": len(runs),
        "images": min(spent.images for _, spent in runs),
        "microjoules": statistics.mean(spent.microjoules for _, spent in runs),
        **summarise_seeds([top1 for top1, _ in runs], [spent.spike_rate for _, spent in runs]),
    }


def best(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that no cheaper network equals, of rows in the order of their energy."""
    found: list[Mapping[str, Any]] = []
    for row in rows:
        if not found or row["top1"] > found[-1]["top1"]:
            found.append(row)
    return found


def picture(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A PNG: a mark for each network, a bar over its seeds, a line through those that no cheaper one equals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(8.5, 5), layout="constrained")
    for family, (words, mark, color) in STYLES.items():
        chosen = [row for row in rows if row["family"] == family]
        if chosen:
            _draw_family(axes, chosen, words, mark, color)
    edge = best(rows)
    axes.plot([row["microjoules"] for row in edge], [row["top1"] for row in edge], color="0.6", linewidth=1, zorder=0)
    for number, row in enumerate(edge, start=1):
        place = (row["microjoules"], row["top1"])
        axes.annotate(str(number), place, xytext=(-7, 4), textcoords="offset points", fontsize=9, ha="right")
    axes.set(
        title="Accuracy against energy at one training budget",
        xlabel="energy of one image by 45 nm float32 arithmetic [µJ]",
        ylabel="correctly classified images (top-1) [%]",
        xscale="log",
    )
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(True, color="0.92", linewidth=0.8)
    figure.legend(loc="outside right upper", frameon=False)
    names = "\n".join(f"{number}  {row['name']}" for number, row in enumerate(edge, start=1))
    figure.supxlabel(f"The line joins what no cheaper network equals:\n{names}", fontsize=8, x=0.01, ha="left")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    pyplot.close(figure)
    return buffer.getvalue()


def _draw_family(axes: Any, rows: Sequence[Mapping[str, Any]], words: str, mark: str, color: str) -> None:
    energy = [row["microjoules"] for row in rows]
    top1 = [row["top1"] for row in rows]
    spread = [[row["top1"] - row["least"] for row in rows], [row["most"] - row["top1"] for row in rows]]
    axes.errorbar(energy, top1, spread, fmt=mark, color=color, label=words, elinewidth=0.8, markersize=6)


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Folder with train.npz and val.npz.")],
    work: Annotated[
        Path | None, typer.Option(help="The --work of benchmarks.accuracy: what is there and not profiled yet.")
    ] = None,
    state: Annotated[Path | None, typer.Option(help="The records of the runs; OUT/accuracy.jsonl.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Validation images, spread evenly over the split.")] = 100,
    budget: Annotated[str | None, typer.Option(help="Of which runs, where the records hold several.")] = None,
    out: Out = RESULTS,
) -> None:
    """Profile, record, print, write."""
    torch.set_num_threads(1)
    ledger = Ledger(state or out / "accuracy.jsonl")
    pixels, _ = read_images(data, images)
    for run in ledger.runs():
        folder = run_folder(work, run.name, run.seed, run.budget) if work else None
        if folder and ledger.energy(run) is None and run.top1 is not None and folder.is_dir():
            ledger.add(measure(run, folder, pixels))
            typer.echo(f"{run.name}, seed {run.seed}: profiled", err=True)
    rows = make_rows(ledger, choose_budget(ledger.runs(), budget))
    columns = ["model", "µJ an image", "top-1 (least to most)", "spike rate", "seeds"]
    print_table("The cheapest first", columns, [_cells(row) for row in rows])
    path = write_result(out, "accuracy_energy", {"rows": rows, "best": [row["name"] for row in best(rows)]})
    write_beside(path.with_suffix(".png"), picture(rows))
    typer.echo(f"wrote {path} and {path.with_suffix('.png').name}")


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [row["name"], f"{row['microjoules']:.1f}", *tell_seeds(row, row["seeds"])]


if __name__ == "__main__":
    app()
