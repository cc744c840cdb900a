"""Tables of the pretrained models of this source tree, and the picture of their accuracy against energy.

docs/reference/models.md lists all of them, README five, docs/results/ the codes of spikes, and hybrids without theirs.
Figures are those of the catalogs and of integers.csv; nothing is measured here.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from benchmarks.common.reporting import PICTURES, RESULTS, ROOT, as_code, markdown_table, svg_of, write_beside
from benchmarks.models_table import replace_between
from benchmarks.results_csv import catalogs, rows
from zoo.catalog.files import read_catalog
from zoo.catalog.records import WeightRecord
from zoo.inference.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOCS = ROOT / "docs"
PICTURE = PICTURES / "accuracy_energy.svg"
TWIN_MODELS = {
    "arithmetic-float32-sparse": "32-bit float, multiplied",
    "shift-add-float32": "32-bit float, an addition for every set bit",
    "arithmetic-int8-sparse": "8-bit integers, multiplied",
    "lowbit": "multiplier of few bits, 32-bit sums",
    "memory-shift-add": "an addition for every set bit, and memory traffic",
}
"""Energy models in the table of codes, in words."""
HEADER = ("checkpoint", "top-1, %", "control's top-1, %", "energy ÷ control")
GROUPS = {
    "has8": "Hybrids",
    "sew": "Spiking-only networks",
    "ann": "Networks without spikes",
    "seq": "Networks for sequences",
}
"""Family → heading of its table."""
IN_README = (
    "has8_resnetfull_b32_m2_d4_ste_bpd_plif.cifar10",
    "has8_resnetsmall_b16_m2_d4_ste_bpd_plif.cifar10",
    "has8_resnet_b8_m2_d4_ste_bpd.cifar10",
    "sew_resnetfull_b32_m2_d4_direct.cifar10",
    "sew_resnetsmall_b32_m2_d4_direct.cifar10",
)
MULTIPLIED, ADDED = "arithmetic-float32-sparse", "shift-add-float32"
KINDS: dict[str, tuple[str, str, str]] = {
    "control": ("no spikes", "s", COLOURS["ann"]),
    "integers": ("integers: shifted and added to multiplied", "|", "#56B4E9"),
    "has8": ("hybrid", "o", COLOURS["has8"]),
    "dual": ("its dual, taken as twice the control", "o", COLOURS["snn"]),
    "sew": ("spiking-only", "^", COLOURS["sew"]),
    "published": ("published, on PNG, zeros not skipped", "D", "#808080"),
}
"""Words, mark and colour of each kind."""
SHOWN = {
    "ann_resnet_b8_m2_d4.cifar10": ("control b8", 0, -15),
    "ann_resnetsmall_b16_m2_d4.cifar10": ("small b16", 8, -11),
    "ann_resnetsmall_b16_m2_d4.cifar10long": ("small b16, 80 more epochs", -8, 3),
    "ann_resnetsmall_b32_m2_d4.cifar10": ("small b32", 8, -6),
    "ann_resnetfull_b32_m2_d4.cifar10": ("full b32", 2, 8),
    "ann_fast_b15_m4_d3.cifar10": ("fast b15", 8, 4),
    "ann_fast_b64_m4_d3.cifar10muon": ("fast b64", 8, -12),
    "has8_resnet_b8_m2_d4_ste_bpd.cifar10": ("hybrid b8", 8, -5),
    "has8_resnetsmall_b16_m2_d4_ste_bpd_plif.cifar10": ("hybrid small b16", 8, -10),
    "has8_vgg_b24_m2_d4_fourier_bpd.cifar10": ("hybrid vgg b24", -10, -16),
    "has8_resnetfull_b32_m2_d4_ste_bpd_plif.cifar10": ("hybrid full b32", 8, 2),
    "sew_resnetsmall_b32_m2_d4_direct.cifar10": ("small b32, T = 4", 4, 7),
    "sew_resnetfull_b32_m2_d4_direct.cifar10": ("full b32, T = 12", 0, 9),
    "sew_resnetfull_b32_m2_d4_direct_radix.cifar10": ("full b32, digits", 2, 20),
    "sew_resnetsmall_b32_m2_d4_direct_radix.cifar10": ("small b32, digits", 0, -14),
    "sew_resnetfull_b32_m2_d4_direct.cifar10streaming": ("full b32, streaming", 8, -9),
    "sew_fast_b64_m4_d3_direct.cifar10stream": ("fast b64, streaming", 6, -17),
    "sew_fast_b15_m4_d3_direct.cifar10stream": ("fast b15, streaming", 8, -5),
    "ann_fast_b15_m4_d3.cifar10levels4": ("fast b15", 1, 7),
    "ann_fast_b15_m4_d3.cifar10sparse": ("fast b15, sparse", 1, -15),
    "ann_fast_b64_m4_d3.cifar10levels4long": ("fast b64", -8, 0),
    "shufflenetv2_x0_5": ("shufflenetv2_x0_5", -8, 6),
    "mobilenetv2_x0_5": ("mobilenetv2_x0_5", 0, 8),
    "airbench94": ("airbench94", -30, 8),
    "dual_resnet_b8_m2_d4": ("dual b8, five seeds", 9, -4),
}
"""What the picture shows: the words beside each mark, and their place in points."""
CIFAR_MODELS = "https://github.com/chenyaofo/pytorch-cifar-models"
PUBLISHED = {
    "shufflenetv2_x0_5": (90.13, 10.90e6, CIFAR_MODELS),
    "mobilenetv2_x0_5": (92.88, 27.97e6, CIFAR_MODELS),
    "airbench94": (94.01, 118.2e6, "arXiv:2404.00498; multiply-accumulates counted from its layers"),
}
"""Small networks of others: top-1 on CIFAR-10's 10,000 PNG images, multiply-accumulates, source."""
DUAL_TOP1 = (76.74, 76.65, 76.54, 76.53, 76.08)
"""Of `dual_resnet_b8_m2_d4`, seeds 1 to 5 (docs/concepts/controls.md)."""
PICOJOULES_A_MAC = 4.6

Row = Mapping[str, Any]

app = typer.Typer(add_completion=False)


def table(weights: Sequence[Row], chosen: Collection[str]) -> str:
    """A Markdown table of the chosen checkpoints, the most accurate first."""
    by_name = {row["name"]: row for row in weights}
    lines = []
    for row in sorted((by_name[name] for name in chosen), key=lambda row: -row["top1"]):
        control = by_name.get(row["control"])
        beside = "–" if control is None else f"{control['top1']:.2f}"
        lines.append((row["name"], f"{row['top1']:.2f}", beside, _range_of(row, "even_energy_ratio")))
    return markdown_table(HEADER, as_code(lines))


def models_page(weights: Sequence[Row]) -> str:
    """Tables of all checkpoints, one a kind and package."""
    parts = []
    for family, heading in GROUPS.items():
        names = [row["name"] for row in weights if row["name"].startswith(f"{family}_")]
        told = [row for row in weights if row["name"] in names]
        if family == "ann":
            lines = [(row["name"], f"{row['top1']:.2f}", f"{row['macs'] / 1e6:.1f}") for row in told]
            lines.sort(key=lambda line: -float(line[1]))
            made = markdown_table(("checkpoint", "top-1, %", "MACs, millions"), as_code(lines))
        else:
            made = table(weights, names)
        parts.append(f"## {heading}\n\n{made}")
    return "\n\n".join(parts)


def code_table(root: Path = ROOT) -> str:
    """Energy of spikes in unary, in binary digits, and of integers, for networks that read the same tensors."""
    records = _records(root)
    digits = {record.tensors_of: record for record in records}
    pairs = [(unary, digits[unary.name]) for unary in records if unary.name in digits and unary.energy_range]
    pairs = [pair for pair in pairs if all(each.energy_range and each.energy_range.twin for each in pair)]
    pairs.sort(key=lambda pair: pair[0].figures.timesteps)
    heads, columns = [], []
    for pair in pairs:
        for code, record in zip(("unary", "digits"), pair, strict=True):
            assert record.energy_range
            heads.append(f"{code}, T = {record.figures.timesteps}")
            energies = [record.energy_range.models[model][0] for model in TWIN_MODELS]
            columns.append([*map(_digits, energies), str(record.energy_range.steps)])
        twin = pair[0].energy_range
        assert twin
        heads.append("integers")
        columns.append([*(_digits(twin.twin[model]) for model in TWIN_MODELS), str(twin.control_steps)])
    names = [f"{words} (`{model}`)" for model, words in TWIN_MODELS.items()]
    lines = [list(line) for line in zip([*names, "sequential steps"], *columns, strict=True)]
    return markdown_table(["µJ an image", *heads], lines)


def replaced_table(root: Path = ROOT) -> str:
    """Top-1 of every hybrid as it is, with its spikes replaced by their mean, and silenced."""
    lines = [
        (record.name, *(f"{figure:.2f}" for figure in (record.robustness["as they are"], mean, spikes)))
        for record in _records(root)
        if (mean := record.mean_replaced) is not None and (spikes := record.silenced["spiking"]) is not None
    ]
    lines.sort(key=lambda line: float(line[2]) - float(line[1]))
    return markdown_table(("hybrid", "as it is", "mean-replaced", "silenced"), as_code(lines))


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
    """A network on the picture.

    Attributes:
        name: a key of `SHOWN`.
        kind: a key of `KINDS`.
        top1: in percent.
        added: microjoules of an image, with integers shifted and added.
        multiplied: with integers multiplied; of other networks the same.
    """

    name: str
    kind: str
    top1: float
    added: float
    multiplied: float


def points(root: Path = ROOT) -> list[Point]:
    """What the picture shows: figures of the records, of benchmarks/results/integers.csv, and published ones."""
    records = [record for record in _records(root) if record.dataset == "CIFAR-10"]
    top1 = {record.name: record.metrics["top1"] for record in records}
    made = [
        Point(name, "published", share, *2 * [macs * PICOJOULES_A_MAC / 1e6])
        for name, (share, macs, _) in PUBLISHED.items()
    ]
    with (RESULTS / "integers.csv").open(encoding="utf-8", newline="") as file:
        made += [
            Point(row["name"], "integers", top1[row["name"]], float(row[ADDED]), float(row[MULTIPLIED]))
            for row in csv.DictReader(file)
        ]
    controls = {}
    for record in records:
        if (bounds := record.energy_range) is None:
            continue
        own, controls[record.control] = bounds.models[MULTIPLIED]
        made.append(Point(record.name, record.variant.partition("_")[0], top1[record.name], own, own))
        if bounds.twin:
            made.append(Point(record.name, "integers", top1[record.name], bounds.twin[ADDED], bounds.twin[MULTIPLIED]))
    made += [Point(name, "control", top1[name], energy, energy) for name, energy in controls.items()]
    twice = 2 * controls["ann_resnet_b8_m2_d4.cifar10"]
    made.append(Point("dual_resnet_b8_m2_d4", "dual", sum(DUAL_TOP1) / len(DUAL_TOP1), twice, twice))
    return sorted((point for point in made if point.name in SHOWN), key=lambda point: (point.name, point.kind))


def _draw_mark(axes: Axes, point: Point, *, with_legend: bool) -> None:
    words, marker, color = KINDS[point.kind]
    energies = sorted({point.added, point.multiplied})
    size = 7 if marker != "|" else 11
    label = words if with_legend else None
    heights = [point.top1] * len(energies)
    axes.plot(energies, heights, linewidth=2.2, color=color, marker=marker, markersize=size, label=label)


def _write_name(axes: Axes, point: Point) -> None:
    text, right, up = SHOWN[point.name]
    side = "center" if right == 0 else "left" if right > 0 else "right"
    place: dict[str, Any] = {"textcoords": "offset points", "xytext": (right, up)}
    corner = (min(point.added, point.multiplied), point.top1)
    axes.annotate(text, corner, fontsize=10, color=KINDS[point.kind][2], ha=side, **place)


def _draw(axes: Axes, shown: Sequence[Point]) -> None:
    """Draw every mark with its words; integers are bars from added to multiplied."""
    named: set[str] = set()
    for kind in KINDS:
        for number, point in enumerate(point for point in shown if point.kind == kind):
            _draw_mark(axes, point, with_legend=number == 0)
            if point.name not in named and (kind != "integers" or "ann" in point.name):
                _write_name(axes, point)
                named.add(point.name)
    axes.set(xscale="log", xlim=(2, 900), ylim=(72, 95.5))
    axes.set_xlabel("energy of an image, 32-bit arithmetic at 45 nm, µJ")
    axes.set_ylabel("top-1 on CIFAR-10, %")
    axes.set_xticks([2, 5, 10, 20, 50, 100, 200, 500], ["2", "5", "10", "20", "50", "100", "200", "500"])
    axes.minorticks_off()
    axes.grid(True, color="#b0b0b0", linewidth=0.5, alpha=0.5)
    axes.legend(loc="lower right", fontsize=10, frameon=False)


def picture(shown: Sequence[Point]) -> bytes:
    """Accuracy against energy, SVG; the same bytes for the same figures."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 6.6))
    FigureCanvasSVG(figure)
    _draw(figure.add_subplot(), shown)
    figure.tight_layout()
    return svg_of(figure)


def blocks() -> dict[Path, dict[str, str]]:
    """Page → marker → what stands between `<!-- marker:start -->` and `<!-- marker:end -->`."""
    weights = list(rows())
    return {
        ROOT / "README.md": {"weights": table(weights, IN_README)},
        DOCS / "reference" / "models.md": {"weights": models_page(weights)},
        DOCS / "results" / "spikes.md": {"codes": code_table()},
        DOCS / "results" / "robustness.md": {"replaced": replaced_table()},
    }


@app.command()
def main() -> None:
    """Write the tables into README.md and docs/, and the picture into docs/pictures/."""
    for page, tables in blocks().items():
        text = page.read_bytes()
        for name, content in tables.items():
            text = replace_between(text, content, (f"<!-- {name}:start -->".encode(), f"<!-- {name}:end -->".encode()))
        write_beside(page, text)
        typer.echo(f"wrote tables into {page}")
    write_beside(PICTURE, picture(points()))
    typer.echo(f"wrote {PICTURE}")


if __name__ == "__main__":
    app()
