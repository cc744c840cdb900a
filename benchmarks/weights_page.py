"""README's picture and table of weights: every trained network of this source tree, each hybrid beside its control.

Figures are those of the catalogs; nothing is measured here. The picture is SVG, so that it is sharp at every size.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common.reporting import ROOT, as_code, markdown_table, write_beside
from benchmarks.models_table import replace_between
from benchmarks.results_csv import rows

START, END = b"<!-- weights:start -->", b"<!-- weights:end -->"
HEADER = ("weight", "top-1", "its control's", "parameters", "MACs", "energy ÷ control's", "distribution")
PICTURE = ROOT / "docs" / "weights.svg"
HYBRID, CONTROL = "#D55E00", "#0072B2"

NAME_HEIGHT = 0.6
"""Percent of accuracy that a name takes on the picture."""

Row = Mapping[str, Any]

app = typer.Typer(add_completion=False)


def markdown(weights: Sequence[Row]) -> str:
    """The Markdown table, the most accurate first, without a line feed at its end."""
    by_name = {row["name"]: row for row in weights}
    lines = []
    for row in sorted(weights, key=lambda row: -row["top1"]):
        control = by_name.get(row["control"])
        cells = (
            row["name"],
            f"{row['top1']:.2f}",
            "–" if control is None else f"{control['top1']:.2f}",
            f"{row['params'] / 1e6:.2f} M",
            f"{row['macs'] / 1e6:.1f} M",
            _energy(row),
            row["distribution"],
        )
        lines.append(cells)
    return markdown_table(HEADER, as_code(lines), last_is_words=True)


def _energy(row: Row) -> str:
    if row["energy_ratio_lowest"] is None:
        return "–"
    return f"{row['energy_ratio_lowest']:.2f} to {row['energy_ratio_highest']:.1f}"


def label_heights(weights: Sequence[Row]) -> list[tuple[Row, float]]:
    """Where the name of each weight stands: at its accuracy, or below a name that stands there already.

    Names of networks with spikes stand in a column on the right of all marks, the others in one on the left.
    """
    placed: list[tuple[Row, float]] = []
    for row in sorted(weights, key=lambda row: -row["top1"]):
        near = [height for other, height in placed if (other["timesteps"] > 1) == (row["timesteps"] > 1)]
        placed.append((row, min([row["top1"], *(height - NAME_HEIGHT for height in near)])))
    return placed


def picture(weights: Sequence[Row]) -> bytes:
    """Accuracy against operations, SVG; the same bytes for the same figures."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(9.6, 5.2))
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    by_name = {row["name"]: row for row in weights}
    for row in weights:
        hybrid = row["timesteps"] > 1
        control = by_name.get(row["control"])
        if control is not None:
            pair = [control, row]
            axes.plot([one["macs"] for one in pair], [one["top1"] for one in pair], color="0.6", linewidth=1, zorder=1)
        marker, color = ("o", HYBRID) if hybrid else ("s", CONTROL)
        axes.plot(row["macs"], row["top1"], marker=marker, color=color, markersize=7, linestyle="none", zorder=2)
    left, right = min(row["macs"] for row in weights) / 1.5, max(row["macs"] for row in weights) * 1.5
    for row, height in label_heights(weights):
        hybrid = row["timesteps"] > 1
        axes.annotate(
            row["name"].removesuffix(".cifar10"),
            (row["macs"], row["top1"]),
            xytext=(right if hybrid else left, height),
            ha="left" if hybrid else "right",
            va="center",
            fontsize=7,
            arrowprops={"arrowstyle": "-", "color": "0.75", "linewidth": 0.5, "linestyle": ":", "shrinkB": 4},
        )
    axes.set(
        title="Trained weights of this repository",
        xlabel="multiply-accumulates of one image, all timesteps",
        ylabel="top-1 accuracy on CIFAR-10 [%]",
        xscale="log",
    )
    axes.set_xlim(left / 50, right * 80)
    axes.set_xticks([10**power for power in range(6, 10)])
    axes.margins(y=0.08)
    axes.grid(True, color="0.92", linewidth=0.8)
    keys = [
        Line2D([], [], marker="o", color=HYBRID, linestyle="none", label="with spikes"),
        Line2D([], [], marker="s", color=CONTROL, linestyle="none", label="without spikes"),
        Line2D([], [], color="0.6", linewidth=1, label="a network and its control"),
    ]
    axes.legend(handles=keys, loc="center left", bbox_to_anchor=(0.02, 0.35), fontsize=8)
    figure.tight_layout()
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "has8-zoo", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


@app.command()
def main(
    readme: Annotated[Path, typer.Option(help="Put the table between this file's weights markers.")] = ROOT
    / "README.md",
    picture_file: Annotated[Path, typer.Option("--picture", help="Where the picture goes.")] = PICTURE,
) -> None:
    """Write the table into README.md and the picture into docs/."""
    weights = list(rows())
    write_beside(readme, replace_between(readme.read_bytes(), markdown(weights), (START, END)))
    write_beside(picture_file, picture(weights))
    typer.echo(f"wrote the table into {readme} and the picture {picture_file}")


if __name__ == "__main__":
    app()
