"""The picture of gradients: their norm in each block over the epochs of trainings, from their metrics.csv.

python -m benchmarks.gradients paper-fourier paper-fourierscaled paper-ste paper-dual paper-ann --work DIR
DIR is that of benchmarks.runs.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmarks.common.reporting import PICTURES, RESULTS, Out, svg_of, write_beside, write_result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NORM = "grad_norm_"
"""Begins the column of a block."""
COLUMNS = 3
"""Panels beside each other."""

app = typer.Typer(add_completion=False)


def read_run(folder: Path, count: int) -> dict[str, Any]:
    """Read a run: each epoch's accuracy in percent, spikes per neuron and timestep, and the norms of every block."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        epochs = list(csv.DictReader(file))[:count]
    blocks = [column.removeprefix(NORM) for column in epochs[0] if column.startswith(NORM)]
    norms = {block: [float(epoch[NORM + block]) for epoch in epochs] for block in blocks}
    train = [float(epoch["train_top1"]) for epoch in epochs]
    val = {epoch["epoch"]: float(epoch["val_top1"]) for epoch in epochs if epoch.get("val_top1")}
    rates = [float(epoch["spike_rate"]) for epoch in epochs if epoch.get("spike_rate")]
    return {"run": folder.name, "train_top1": train, "val_top1": val, "spike_rate": rates, "norms": norms}


def draw_run(axes: Axes, row: Mapping[str, Any]) -> None:
    """Draw a line for each block, the first the darkest."""
    from matplotlib import colormaps

    blocks = len(row["norms"])
    for number, (block, norms) in enumerate(row["norms"].items()):
        colour = colormaps["viridis"](0.2 + 0.75 * number / blocks)  # neither end, for dark and light pages
        axes.plot(range(1, len(norms) + 1), norms, color=colour, marker=".", label=block.removeprefix("stages."))
    axes.set(title=row["run"], yscale="log")
    axes.grid(True, color="#b0b0b0", linewidth=0.5, alpha=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def picture(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw an SVG with a panel for each run, three in a row, on one axis."""
    from matplotlib.figure import Figure

    lines = -(-len(rows) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 3.6 * lines), layout="constrained")
    panels = figure.subplots(lines, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, row in zip(panels, rows, strict=False):
        draw_run(axes, row)
    for axes in panels[len(rows) :]:
        axes.set_axis_off()
    figure.supxlabel("epoch")
    figure.supylabel("norm of the gradient, mean over the steps of an epoch")
    figure.legend(*panels[0].get_legend_handles_labels(), title="stage.block", loc="outside right upper", frameon=False)
    return svg_of(figure)


@app.command()
def main(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Of benchmarks/runs.yaml, at least an epoch each.")
    ],
    work: Annotated[Path, typer.Option(help="The folder of benchmarks.runs.")],
    drawn: Annotated[Path, typer.Option("--picture", help="The SVG.")] = PICTURES / "gradients.svg",
    epochs: Annotated[int, typer.Option(help="The first so many.", min=1)] = 5,
    out: Out = RESULTS,
) -> None:
    """Read, write and draw."""
    rows = [read_run(work / run, epochs) for run in runs]
    typer.echo(f"wrote {write_result(out, 'gradients', {'rows': rows})}")
    write_beside(drawn, picture(rows))


if __name__ == "__main__":
    app()
