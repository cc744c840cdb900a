"""The picture of the accuracy benchmark: a line for each network, its top-1 here beside the paper's.

python -m benchmarks.accuracy.picture   # draws benchmarks/results/accuracy.svg again from accuracy.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.accuracy.configurations import BASELINES, FURTHER
from benchmarks.accuracy.table import PAPER_BUDGET, tell_epochs
from benchmarks.common.reporting import RESULTS, svg_of, write_beside
from zoo.inference.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, PAPERS = COLOURS["ann"], COLOURS["has8"]  # filled and open for readers who see no colours
MARKS = {"if": "o", "lif": "^"}
ENCODERS = {"sigmoid": "sigmoid", "tanh": "tanh", "fourier": "Fourier", "ste": "straight-through"}
DECODERS = {"rate": "spikes averaged", "bpd": "spikes weighted as bits"}
SEW_ENCODERS = {"rate": "rate coding", "ttfs": "time to first spike", "phase": "phase coding"}
NETWORKS = {"vgg": "VGG", "resnet": "ResNet"}


def in_words(name: str) -> str:
    """Describe a network of the table for a reader who has not seen the paper; the neurons are told by the mark.

    Example:
        >>> in_words("has8_vgg_b16_m2_d4_tanhraw_bpd")
        'tanh gradient, unscaled; spikes weighted as bits'
        >>> in_words("sew_resnet18_ttfs")
        'spiking-only: time to first spike'
    """
    family, *parts = name.split("_")
    if family == "sew":
        return f"spiking-only: {SEW_ENCODERS[parts[1]]}"
    if family == "ann":
        return "no spikes"
    if family == "snn":
        return "spiking-only"
    encoder, decoder = parts[4:6]
    if encoder.endswith("ref"):
        return "the authors' own code"
    scale = ", unscaled" if encoder.endswith("raw") else ""
    return f"{ENCODERS[encoder.removesuffix('raw')]} gradient{scale}; {DECODERS[decoder]}"


def mark_of(name: str) -> str:
    """The mark of its neurons: the authors' code has leaky ones, SEW has IF; without spikes it is IF's."""
    return MARKS["lif" if name.endswith(("_lif", "_lifref")) else "if"]


def papers(row: Mapping[str, Any]) -> float | None:
    """The paper's figure, once: the rows of other neurons and of the authors' code repeat another's."""
    return None if row["name"].endswith(("_lif", "_lifref")) else row["paper"]


def title_of(group: str) -> str:
    """A heading in words.

    Example:
        >>> title_of("resnet_b32_m2_d4"), title_of("baselines")
        ('Hybrids with ResNet blocks (resnet_b32_m2_d4)', 'ResNet-18')
    """
    if group in (BASELINES, FURTHER):
        return "ResNet-18" if group == BASELINES else "Further networks"
    return f"Hybrids with {NETWORKS[group.partition('_')[0]]} blocks ({group})"


def by_group(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
    """Rows under heading and line, in the table's order: networks that differ in their neurons share a line.

    A network without any figure keeps an empty line.
    """
    groups: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        words = row["name"] if row["group"] == FURTHER else in_words(row["name"])
        groups.setdefault(row["group"], {}).setdefault(words, []).append(row)
    return groups


def control_of(lines: Mapping[str, Sequence[Mapping[str, Any]]]) -> float | None:
    """Top-1 of the network without spikes; None where it has no figure."""
    found = [row["top1"]["mean"] for row in lines.get("no spikes", []) if row["top1"] is not None]
    return found[0] if found else None


def draw_panel(axes: Axes, lines: Mapping[str, Sequence[Mapping[str, Any]]], title: str, chance: float) -> None:
    """A line for each network, the first one on top; a bar joins the least and the most of several seeds."""
    for line, rows in enumerate(lines.values()):
        for row in rows:
            top1, paper = row["top1"], papers(row)
            if top1 is not None:
                axes.plot([top1["least"], top1["most"]], [line, line], color=OURS, linewidth=2)
                axes.plot(top1["mean"], line, mark_of(row["name"]), color=OURS, markersize=6, alpha=0.85)
            if paper is not None:
                axes.plot(paper, line, "D", color=PAPERS, markerfacecolor="none", markersize=6)
    control = control_of(lines)
    if control is not None:
        axes.axvline(control, color=OURS, linestyle="--", linewidth=1)
    axes.axvline(chance, color="0.5", linestyle=":", linewidth=1)
    axes.set_yticks(range(len(lines)), list(lines))
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.grid(True, color="#b0b0b0", linewidth=0.5, alpha=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw_legend(axes: Axes, budget: Mapping[str, Any]) -> None:
    """Which mark is whose."""
    from matplotlib.lines import Line2D

    images, measured = budget["images"], budget["val_images"]
    ours = f"here: {tell_epochs(budget)} of {images:,} images, measured on {measured:,};"

    def entry(label: str, **style: Any) -> Line2D:
        return Line2D([], [], **{"color": OURS, "linewidth": 0, **style}, label=label)

    handles = [
        entry(f"{ours} neurons that keep all they take in (IF)", marker=MARKS["if"]),
        entry("here, the same with neurons that leak half of it at each step (LIF)", marker=MARKS["lif"]),
        entry("here, three seeds: from the least to the most", linewidth=2),
        entry("here, the same blocks without spikes", linewidth=1, linestyle="--"),
        entry(f"the paper: {PAPER_BUDGET}", color=PAPERS, marker="D", markerfacecolor="none"),
        entry("guessing", color="0.5", linewidth=1, linestyle=":"),
    ]
    axes.figure.legend(handles=handles, loc="outside lower center", ncols=1, frameon=False)


def picture(content: Mapping[str, Any]) -> bytes:
    """An SVG with a panel for each group of networks, all on one axis of accuracy.

    Args:
        content: of the JSON file.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = by_group(content["rows"])
    heights = [len(lines) for lines in groups.values()]
    figure, panels = pyplot.subplots(
        len(groups),
        1,
        figsize=(8.5, 3 + 0.26 * sum(heights)),
        sharex=True,
        squeeze=False,
        height_ratios=heights,
        layout="constrained",
    )
    for axes, (group, lines) in zip(panels[:, 0], groups.items(), strict=True):
        draw_panel(axes, lines, title_of(group), 100 / content["classes"])
    panels[-1, 0].set(xlabel="correctly classified images (top-1) [%]", xlim=(0, 100))
    figure.suptitle(
        f"Hybrid analog-spiking networks, table {content['table']} of the HAS-8 paper: here and there.\n"
        "A line is a way to pass gradients through the spikes, and to read them.\n"
        "The budgets differ by far: compare marks of one kind with each other.",
        fontsize=11,
    )
    draw_legend(panels[0, 0], content["budget"])
    drawn = svg_of(figure)
    pyplot.close(figure)
    return drawn


def main() -> None:
    """Draw what the results hold, without training anything."""
    file = RESULTS / "accuracy.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    write_beside(file.with_suffix(".svg"), picture(content))


if __name__ == "__main__":
    main()
