"""The picture of the accuracy benchmark: top-1 against MACs per timestep, ours and the paper's, with budgets."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.accuracy.runs import PAPER_IMAGE_SIZE
from benchmarks.accuracy.table import PAPER_BUDGET

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette; the marker repeats the difference for whoever sees no colours.
STYLES: dict[str, dict[str, str]] = {
    "sigmoid": {"color": "#CC79A7", "marker": "s"},
    "tanh": {"color": "#E69F00", "marker": "^"},
    "fourier": {"color": "#0072B2", "marker": "o"},
    "ste": {"color": "#009E73", "marker": "D"},
    "fourierref": {"color": "black", "marker": "*"},
    "spikes alone (snn)": {"color": "#D55E00", "marker": "X"},
    "no spikes (ann)": {"color": "0.45", "marker": "P"},
    "SEW-ResNet": {"color": "#56B4E9", "marker": "v"},
}


def kind_of(name: str) -> tuple[str, bool, bool]:
    """(key of `STYLES`, whether it lacks γ, whether it decodes by rate)."""
    family, *parts = name.split("_")
    for key, start in (("no spikes (ann)", "ann"), ("spikes alone (snn)", "snn"), ("SEW-ResNet", "sew")):
        if family == start:
            return key, False, False
    encoder, decoder = parts[4:6]
    return encoder.removesuffix("raw"), encoder.endswith("raw"), decoder == "rate"


def ours(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Points that were measured."""
    return [
        {"name": row["name"], "x": row["cost"]["macs_per_timestep"], "y": row["top1"]["mean"], "bar": row["top1"]}
        for row in rows
        if row["top1"] is not None and row["cost"] is not None
    ]


def papers(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Points of the paper, each figure once: the parity plugin's row repeats one."""
    return [
        {"name": row["name"], "x": row["paper_macs_per_timestep"], "y": row["paper"], "bar": None}
        for row in rows
        if row["paper"] is not None and row["paper_macs_per_timestep"] is not None and "ref_" not in row["name"]
    ]


def draw_panel(axes: Axes, points: Sequence[Mapping[str, Any]], title: str, size: int) -> None:
    """Filled markers decode by bpd or do not decode, open ones by rate; small pale ones lack γ."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    for point in points:
        key, raw, rate = kind_of(point["name"])
        style = STYLES.get(key, {"color": "black", "marker": "x"})
        x, y = point["x"] / 1e9, point["y"]
        axes.plot(
            x,
            y,
            linestyle="none",
            marker=style["marker"],
            markersize=5 if raw else 9,
            markeredgecolor=style["color"],
            markerfacecolor="none" if rate else style["color"],
            alpha=0.55 if raw else 0.9,
        )
        if point["bar"] is not None and len(point["bar"]["values"]) > 1:
            axes.plot([x, x], [point["bar"]["least"], point["bar"]["most"]], color=style["color"], linewidth=1.5)
    axes.set(title=title, xlabel=f"MACs of one timestep, {size}×{size} pixels [G]", xscale="log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def name_columns(axes: Axes, points: Sequence[Mapping[str, Any]]) -> None:
    """Which networks stand above one another, in room of its own at the top."""
    columns: dict[str, set[str]] = {}
    for point in points:
        family, network, *rest = str(point["name"]).replace("ref_", "_").split("_")
        base = rest[0] if rest else ""
        short = f"{network}_{base}" if base.startswith("b") else network
        columns.setdefault(f"{point['x'] / 1e9:.2f}", set()).add(f"{family} {short}")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.35 * (high - low))
    for x, names in columns.items():
        text = "\n".join(sorted(names))
        axes.text(
            float(x), 0.99, text, transform=axes.get_xaxis_transform(), rotation=90, ha="center", va="top", fontsize=8
        )


def draw_legend(axes: Axes, names: Sequence[str]) -> None:
    """The kinds that occur, and what open and small markers mean."""
    from matplotlib.lines import Line2D

    kinds = {kind_of(name)[0] for name in names}
    handles = [
        Line2D([], [], linestyle="none", markersize=8, label=key, **style)  # type: ignore[arg-type] # words alone
        for key, style in STYLES.items()
        if key in kinds
    ]
    notes = (
        ("rate decoder: open", {"markersize": 9, "markerfacecolor": "none"}),
        ("without γ: small", {"markersize": 5}),
    )
    handles += [Line2D([], [], linestyle="none", marker="o", color="0.3", label=text, **each) for text, each in notes]
    handles.append(Line2D([], [], color="0.5", linestyle=":", label="chance"))
    axes.figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)


def picture(content: Mapping[str, Any], budget: str) -> bytes:
    """A PNG of two panels on one axis of MACs.

    Args:
        content: of the JSON file.
        budget: ours, in a few words.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows, size = content["rows"], content["macs_image_size"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 5.6), sharex=True, layout="constrained")
    draw_panel(left, ours(rows), f"ours: {budget}", size)
    draw_panel(right, papers(rows), f"the paper: {PAPER_BUDGET}", PAPER_IMAGE_SIZE)
    left.set_ylabel("top-1 [%]")
    figure.suptitle(f"The paper's table {content['table']}. Budgets and scales differ: compare within a panel")
    for axes, points in ((left, ours(rows)), (right, papers(rows))):
        axes.axhline(100 / content["classes"], color="0.5", linestyle=":", linewidth=1)
        name_columns(axes, points)
    draw_legend(left, [point["name"] for point in (*ours(rows), *papers(rows))])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    pyplot.close(figure)
    return buffer.getvalue()
