"""Tables of the weights of this source tree, and the picture of their accuracy against energy.

docs/reference/models.md lists all of them, README the five that matter most.

Figures are those of the catalogs; nothing is measured here. The picture is SVG, so that it is sharp at every size.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmarks.common.reporting import ROOT, as_code, markdown_table, write_beside
from benchmarks.models_table import replace_between
from benchmarks.results_csv import catalogs, rows
from zoo.catalog.records import EnergyRange, WeightRecord, read_catalog
from zoo.inference.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

START, END = b"<!-- weights:start -->", b"<!-- weights:end -->"
TWINS = b"<!-- twins:start -->", b"<!-- twins:end -->"
TWIN_MODELS = {
    "arithmetic-float32-sparse": "32-bit floating point: a multiplication, zeros skipped",
    "shift-add-float32": "the same, an addition for every set bit",
    "arithmetic-int8-sparse": "8-bit integers: a multiplication, zeros skipped",
    "lowbit": "a multiplier of 3 or 4 bits, 32-bit sums",
    "memory-shift-add": "32-bit floating point, an addition for every set bit, memory traffic",
}
"""Models of energy in the table of spikes beside their twins, in words."""
HEADER = ("weight", "top-1", "its control's", "MACs", "steps", "energy ÷ control's", "÷ twin's", "distribution")
PICTURE = ROOT / "docs" / "pictures" / "accuracy_energy.svg"
IN_README = (
    "has8_resnetfull_b32_m2_d4_ste_bpd_plif.cifar10",
    "has8_resnetsmall_b16_m2_d4_ste_bpd_plif.cifar10",
    "has8_resnet_b8_m2_d4_ste_bpd.cifar10",
    "sew_resnetfull_b32_m2_d4_direct.cifar10",
    "sew_resnetsmall_b32_m2_d4_direct.cifar10",
)
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "sew": ("spikes alone, encoded once", {"marker": "^", "color": COLOURS["sew"]}),
    "twin": ("its twin: the same tensors, integers for spikes", {"marker": "^", "facecolors": "none"}),
    "has8": ("hybrid: analog and spiking", {"marker": "o", "color": COLOURS["has8"]}),
    "analog": ("no spikes; the line joins the best", {"marker": "s", "color": COLOURS["ann"]}),
    "published": ("published, no spikes; zeros not skipped", {"marker": "D", "color": "0.55"}),
}
"""Words and mark of each kind."""
PANELS = {
    "arithmetic-float32-sparse": ("32-bit floating point, zeros skipped", 4.6),
    "shift-add-float32": ("the same, few levels shifted and added", 4.6),
    "arithmetic-int8-sparse": ("8-bit integers, zeros skipped", 0.23),
    "lowbit": ("multipliers of few bits, 32-bit sums", 0.3),
}
"""Model of energy → title, and picojoules of a multiply-accumulate of real numbers."""
NAMED = {
    "sew_resnetsmall_b32_m2_d4_direct.cifar10": "T = 4",
    "sew_resnetfull_b32_m2_d4_direct.cifar10": "T = 12",
}
CIFAR_MODELS = "https://github.com/chenyaofo/pytorch-cifar-models"
PUBLISHED = {
    "shufflenetv2_x0_5": (90.13, 10.90e6, CIFAR_MODELS),
    "mobilenetv2_x0_5": (92.88, 27.97e6, CIFAR_MODELS),
    "airbench94": (94.01, 118.2e6, "arXiv:2404.00498; multiply-accumulates counted from its layers"),
}
"""Small networks of others: top-1 on CIFAR-10's 10,000 PNG images, multiply-accumulates, source."""

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
            f"{row['macs'] / 1e6:.1f} M",
            "–" if row["steps"] is None else str(row["steps"]),
            _range_of(row, "even_energy_ratio"),
            _range_of(row, "twin_energy_ratio"),
            row["distribution"],
        )
        lines.append(cells)
    return markdown_table(HEADER, as_code(lines), last_is_words=True)


def twin_table(root: Path = ROOT) -> str:
    """Energy of networks whose neurons wait beside their twins', the fewest timesteps first."""
    records = [record for record in _records(root) if record.energy_range and record.energy_range.twin]
    records.sort(key=lambda record: record.figures.timesteps)
    heads = [f"T = {record.figures.timesteps}: {who}" for record in records for who in ("spikes", "its twin")]
    bounds = [record.energy_range for record in records if record.energy_range]
    lines = []
    for model, words in TWIN_MODELS.items():
        pairs = [(each.models[model][0], each.twin[model]) for each in bounds]
        lines.append([f"{words} (`{model}`)", *(_digits(energy) for pair in pairs for energy in pair)])
    steps = [str(count) for each in bounds for count in (each.steps, each.control_steps)]
    return markdown_table(["µJ an image", *heads], [*lines, ["sequential steps", *steps]])


def _digits(microjoules: float) -> str:
    if microjoules < 10:
        return f"{microjoules:.2f}"
    return f"{microjoules:.1f}" if microjoules < 100 else f"{microjoules:,.0f}"


def _records(root: Path) -> list[WeightRecord]:
    return [record for _, file in catalogs(root) for found in read_catalog(file).weights.values() for record in found]


def _range_of(row: Row, figure: str) -> str:
    if row[f"{figure}_lowest"] is None:
        return "–"
    return f"{row[f'{figure}_lowest']:.2f} to {row[f'{figure}_highest']:.1f}"


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
    """Every weight of CIFAR-10 whose energy a record states, its own or that of its weight with spikes."""
    records = [record for record in _records(root) if record.dataset == "CIFAR-10"]
    bounds = {record.name: record.energy_range for record in records if record.energy_range}
    owners = {record.control: record.name for record in records if record.name in bounds}
    made = [_published(name) for name in PUBLISHED]
    for record in records:
        own, owner = bounds.get(record.name), owners.get(record.name)
        if own is not None:
            made += _measured_points(record, own)
        elif owner is not None:
            energies = {model: control for model, (_, control) in bounds[owner].models.items()}
            made.append(Point(record.name, "analog", record.metrics["top1"], energies))
    return sorted(made, key=lambda point: (point.name, point.kind))


def _measured_points(record: WeightRecord, own: EnergyRange) -> list[Point]:
    """A weight with spikes, and its twin if it has one; none of a family that is not drawn."""
    kind, top1 = record.variant.partition("_")[0], record.metrics["top1"]
    if kind not in KINDS:
        return []
    spikes = Point(record.name, kind, top1, {model: energy for model, (energy, _) in own.models.items()})
    return [spikes, Point(record.name, "twin", top1, own.twin)] if own.twin else [spikes]


def _published(name: str) -> Point:
    """A network of others, all of whose multiply-accumulates are charged."""
    top1, macs, _ = PUBLISHED[name]
    return Point(name, "published", top1, {model: price * macs / 1e6 for model, (_, price) in PANELS.items()})


def frontier(analog: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those (energy, accuracy) that no cheaper or equally cheap one reaches, the cheapest first."""
    best: list[tuple[float, float]] = []
    for energy, top1 in sorted(analog, key=lambda pair: (pair[0], -pair[1])):
        if not best or top1 > best[-1][1]:
            best.append((energy, top1))
    return best


def _draw_panel(axes: Axes, model: str, weights: Sequence[Point]) -> None:
    """Draw the marks of one model of energy; a line joins spikes and their twin."""
    from matplotlib.ticker import NullFormatter

    line = frontier([(point.microjoules[model], point.top1) for point in weights if point.kind == "analog"])
    axes.step(*zip(*line, strict=True), where="post", color=COLOURS["ann"], linewidth=1, zorder=1)
    for kind in KINDS:
        _draw_kind(axes, kind, [(each.microjoules[model], each.top1) for each in weights if each.kind == kind])
    twins = {point.name: point.microjoules[model] for point in weights if point.kind == "twin"}
    for point in weights:
        energy = point.microjoules[model]
        if point.kind == "sew":
            ends = (energy, twins.get(point.name, energy))
            axes.plot(ends, (point.top1, point.top1), color=COLOURS["sew"], linewidth=1, linestyle=":", zorder=1)
        _name(axes, point, energy)
    axes.set(xscale="log", ylim=(None, 96))
    axes.margins(x=0.12)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, color="0.92", linewidth=0.8)


def _draw_kind(axes: Axes, kind: str, values: Sequence[tuple[float, float]]) -> None:
    """Draw the marks of one kind, at (energy, top-1)."""
    words, style = KINDS[kind]
    on_top: dict[str, Any] = {"edgecolors": COLOURS["sew"], "linewidths": 1.5, "zorder": 3}
    energies, shares = [energy for energy, _ in values], [top1 for _, top1 in values]
    axes.scatter(energies, shares, s=36, label=words, **style, **(on_top if kind == "twin" else {"zorder": 2}))


def _name(axes: Axes, point: Point, energy: float) -> None:
    """Write beside a mark what it is, if it is one of those that the text names."""
    shift, text, color = 8, point.name if point.kind == "published" else "", "0.4"
    if point.kind == "sew" and point.name in NAMED:
        shift, text, color = -21, NAMED[point.name], COLOURS["sew"]
    place: dict[str, Any] = {"textcoords": "offset points", "xytext": (0, shift), "ha": "center"}
    axes.annotate(text, (energy, point.top1), fontsize=8, color=color, **place)


def picture(weights: Sequence[Point]) -> bytes:
    """Accuracy against energy under four models, SVG; the same bytes for the same figures."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 8.0))
    FigureCanvasSVG(figure)
    panels = figure.subplots(2, 2, sharey=True).flat
    for axes, (model, (title, _)) in zip(panels, PANELS.items(), strict=True):
        _draw_panel(axes, model, [point for point in weights if model in point.microjoules])
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("energy of an image [µJ]")
    for axes in figure.axes[::2]:
        axes.set_ylabel("top-1 on CIFAR-10 [%]")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, fontsize=9, frameon=False)
    figure.tight_layout(rect=(0, 0.08, 1, 1))
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
    / "reference"
    / "models.md",
    energy: Annotated[Path, typer.Option(help="Put the table of twins between this file's markers.")] = ROOT
    / "docs"
    / "concepts"
    / "energy.md",
    picture_file: Annotated[Path, typer.Option("--picture", help="Where the picture goes.")] = PICTURE,
) -> None:
    """Write the tables into README.md and the pages, and the picture."""
    weights = list(rows())
    short = replace_between(readme.read_bytes(), markdown(weights, IN_README), (START, END))
    write_beside(readme, replace_between(short, twin_table(), TWINS))
    write_beside(page, replace_between(page.read_bytes(), markdown(weights), (START, END)))
    write_beside(energy, replace_between(energy.read_bytes(), twin_table(), TWINS))
    write_beside(picture_file, picture(points()))
    typer.echo(f"wrote tables into {readme} and {page}, and the picture {picture_file}")


if __name__ == "__main__":
    app()
