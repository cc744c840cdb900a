"""Tables of the weights of this source tree, and the picture of their accuracy against energy.

docs/models.md lists all of them, README the five that matter most.

Figures are those of the catalogs; nothing is measured here. The picture is SVG, so that it is sharp at every size.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common.reporting import ROOT, as_code, markdown_table, write_beside
from benchmarks.models_table import replace_between
from benchmarks.results_csv import catalogs, rows
from zoo.catalog import read_catalog
from zoo.inference.show import COLOURS

START, END = b"<!-- weights:start -->", b"<!-- weights:end -->"
HEADER = ("weight", "top-1", "its control's", "parameters", "MACs", "energy ÷ control's", "distribution")
PICTURE = ROOT / "docs" / "accuracy_energy.svg"
IN_README = (
    "has8_resnetfull_b32_m2_d4_ste_bpd_plif.cifar10",
    "has8_resnetsmall_b16_m2_d4_ste_bpd_plif.cifar10",
    "has8_resnet_b8_m2_d4_ste_bpd.cifar10",
    "sew_resnetfull_b32_m2_d4_direct.cifar10",
    "sew_resnetsmall_b32_m2_d4_direct.cifar10",
)
KINDS = {
    "sew": ("spikes alone, encoded once", "^", COLOURS["sew"]),
    "has8": ("hybrid: analog and spiking", "o", COLOURS["has8"]),
    "analog": ("no spikes; the line joins the best", "s", COLOURS["ann"]),
}
"""Words, mark and colour of each family."""
PANELS = {
    "arithmetic-float32": "arithmetic, 32-bit floating point",
    "arithmetic-int8": "arithmetic, 8-bit integers",
    "memory-float32": "arithmetic and memory traffic",
    "loihi-synapses": "spikes at Loihi's price, the rest as arithmetic",
}
NAMED = ("sew_resnetsmall", "sew_resnetfull")

Row = Mapping[str, Any]

app = typer.Typer(add_completion=False)


def markdown(weights: Sequence[Row], chosen: Collection[str] | None = None) -> str:
    """The Markdown table, the most accurate first, without a line feed at its end; only `chosen` names if given."""
    by_name = {row["name"]: row for row in weights}
    lines = []
    for row in sorted(weights, key=lambda row: -row["top1"]):
        if chosen is not None and row["name"] not in chosen:
            continue
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


@dataclass(frozen=True)
class Point:
    """A weight on the picture.

    Attributes:
        name: of the weight.
        kind: a key of `KINDS`.
        top1: in percent.
        microjoules: of an image, by model of energy.
    """

    name: str
    kind: str
    top1: float
    microjoules: Mapping[str, float]


def points(root: Path = ROOT) -> list[Point]:
    """Every weight whose energy a record states: spiking ones by their own records, others as controls of those."""
    records = [
        record for _, file in catalogs(root) for found in read_catalog(file).weights.values() for record in found
    ]
    own = {record.name: record.energy_range.models for record in records if record.energy_range}
    controls = {record.control: own[record.name] for record in records if record.name in own}
    made = []
    for record in records:
        pairs, which = (own[record.name], 0) if record.name in own else (controls.get(record.name, {}), 1)
        kind = "analog" if which else record.variant.partition("_")[0]
        if pairs and kind in KINDS:
            energy = {model: pair[which] for model, pair in pairs.items()}
            made.append(Point(record.name, kind, record.metrics["top1"], energy))
    return sorted(made, key=lambda point: point.name)


def frontier(analog: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those (energy, accuracy) that no cheaper or equally cheap one reaches, the cheapest first."""
    best: list[tuple[float, float]] = []
    for energy, top1 in sorted(analog, key=lambda pair: (pair[0], -pair[1])):
        if not best or top1 > best[-1][1]:
            best.append((energy, top1))
    return best


def picture(weights: Sequence[Point]) -> bytes:
    """Accuracy against energy under four models, SVG; the same bytes for the same figures."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(9.6, 7.2))
    FigureCanvasSVG(figure)
    for axes, (model, title) in zip(figure.subplots(2, 2, sharey=True).flat, PANELS.items(), strict=True):
        priced = [point for point in weights if model in point.microjoules]
        analog = [(point.microjoules[model], point.top1) for point in priced if point.kind == "analog"]
        line = frontier(analog)
        axes.step(*zip(*line, strict=True), where="post", color=KINDS["analog"][2], linewidth=1, zorder=1)
        for kind, (words, marker, color) in KINDS.items():
            values = [(point.microjoules[model], point.top1) for point in priced if point.kind == kind]
            if values:
                axes.scatter(*zip(*values, strict=True), marker=marker, color=color, s=36, label=words, zorder=2)
        for point in (one for one in priced if one.kind == "sew" and one.name.startswith(NAMED)):
            shift = {"textcoords": "offset points", "xytext": (6, -11), "fontsize": 7}
            axes.annotate(point.name.removesuffix(".cifar10"), (point.microjoules[model], point.top1), **shift)
        axes.set(title=title, xscale="log", xlabel="energy of an image [µJ]")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(True, color="0.92", linewidth=0.8)
    left = figure.axes[::2]
    for axes in left:
        axes.set_ylabel("top-1 on CIFAR-10 [%]")
    figure.axes[0].legend(loc="upper left", fontsize=8)
    figure.tight_layout()
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "has8-zoo", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


@app.command()
def main(
    readme: Annotated[Path, typer.Option(help="Put the short table between this file's weights markers.")] = ROOT
    / "README.md",
    page: Annotated[Path, typer.Option(help="Put the table of all weights between this file's weights markers.")] = ROOT
    / "docs"
    / "models.md",
    picture_file: Annotated[Path, typer.Option("--picture", help="Where the picture goes.")] = PICTURE,
) -> None:
    """Write the tables into README.md and docs/models.md, and the picture into docs/."""
    weights = list(rows())
    write_beside(readme, replace_between(readme.read_bytes(), markdown(weights, IN_README), (START, END)))
    write_beside(page, replace_between(page.read_bytes(), markdown(weights), (START, END)))
    write_beside(picture_file, picture(points()))
    typer.echo(f"wrote tables into {readme} and {page}, and the picture {picture_file}")


if __name__ == "__main__":
    app()
