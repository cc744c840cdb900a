"""The picture of the accuracy benchmark: a line for each network, its top-1 here beside the paper's.

python -m benchmarks.accuracy.picture   # draws benchmarks/results/accuracy.png anew from accuracy.json
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.accuracy.table import PAPER_BUDGET, short_budget
from benchmarks.common.reporting import RESULTS, write_beside

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, PAPERS = "#0072B2", "#D55E00"  # of Okabe and Ito's palette; filled and open for whoever sees no colours
ENCODERS = {"sigmoid": "sigmoid", "tanh": "tanh", "fourier": "Fourier", "ste": "straight-through"}
DECODERS = {"rate": "mean of the spikes", "bpd": "bit planes"}
SEW_ENCODERS = {"rate": "rate coding", "ttfs": "time to first spike", "phase": "phase coding"}


def in_words(name: str) -> str:
    """What a network of the table is, for someone who has not read the paper.

    Example:
        >>> in_words("has8_vgg_b16_m2_d4_tanhraw_bpd")
        'hybrid: tanh without γ, bit planes'
        >>> in_words("sew_resnet18_ttfs")
        'SEW-ResNet-18: time to first spike'
    """
    family, *parts = name.split("_")
    if family == "sew":
        return f"SEW-ResNet-18: {SEW_ENCODERS[parts[1]]}"
    if family == "ann":
        return "ResNet-18 without spikes" if parts == ["resnet18"] else "control: no spikes"
    if family == "snn":
        return "control: spikes alone"
    encoder, decoder = parts[4:6]
    if encoder.endswith("ref"):
        return "hybrid: the authors' own code"
    scale = " without γ" if encoder.endswith("raw") else ""
    return f"hybrid: {ENCODERS[encoder.removesuffix('raw')]}{scale}, {DECODERS[decoder]}"


def papers(row: Mapping[str, Any]) -> float | None:
    """The paper's figure, once: the row of the authors' code repeats another's."""
    return None if "ref_" in row["name"] else row["paper"]


def by_group(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Rows under their headings, in the table's order; a network without any figure keeps an empty line."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    return groups


def draw_panel(axes: Axes, rows: Sequence[Mapping[str, Any]], title: str, chance: float) -> None:
    """A line for each network, the first one on top; a bar joins the least and the most of several seeds."""
    lines = range(len(rows))
    for line, row in zip(lines, rows, strict=True):
        top1, paper = row["top1"], papers(row)
        if top1 is not None:
            axes.plot([top1["least"], top1["most"]], [line, line], color=OURS, linewidth=2)
            axes.plot(top1["mean"], line, "o", color=OURS, markersize=6)
        if paper is not None:
            axes.plot(paper, line, "D", color=PAPERS, markerfacecolor="white", markersize=6)
    axes.axvline(chance, color="0.5", linestyle=":", linewidth=1)
    axes.set_yticks(lines, [in_words(row["name"]) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw_legend(axes: Axes, budget: str) -> None:
    """Which mark is whose."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=OURS, marker="o", linewidth=2, label=f"here: {budget}"),
        Line2D([], [], color=PAPERS, marker="D", markerfacecolor="white", linewidth=0, label=f"paper: {PAPER_BUDGET}"),
        Line2D([], [], color="0.5", linestyle=":", label="chance"),
    ]
    axes.figure.legend(handles=handles, loc="outside lower center", ncols=1, frameon=False)


def picture(content: Mapping[str, Any], budget: str) -> bytes:
    """A PNG with a panel for each group of networks, all on one axis of accuracy.

    Args:
        content: of the JSON file.
        budget: ours, in a few words.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    groups = by_group(content["rows"])
    heights = [len(rows) for rows in groups.values()]
    figure, panels = pyplot.subplots(
        len(groups),
        1,
        figsize=(8, 2.2 + 0.24 * sum(heights)),
        sharex=True,
        squeeze=False,
        height_ratios=heights,
        layout="constrained",
    )
    for axes, (group, rows) in zip(panels[:, 0], groups.items(), strict=True):
        draw_panel(axes, rows, group, 100 / content["classes"])
    panels[-1, 0].set(xlabel="top-1 accuracy [%]", xlim=(0, 100))
    figure.suptitle(
        f"The paper's table {content['table']}: here and in the paper.\n"
        "Budgets differ by far, so compare marks of one kind with each other."
    )
    draw_legend(panels[0, 0], budget)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    pyplot.close(figure)
    return buffer.getvalue()


def main() -> None:
    """Draw what the results hold, without training anything."""
    file = RESULTS / "accuracy.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    write_beside(file.with_suffix(".png"), picture(content, short_budget(content["budget"])))


if __name__ == "__main__":
    main()
