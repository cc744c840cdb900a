"""How a step's time grows with T, batch, width and image size: the speed benchmark's second table and picture."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.common.timing import interleave, spread, time_step
from benchmarks.speed.steps import Work, build_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = {
    "T": "timesteps T (of sew_resnet18)",
    "batch": "images of a step",
    "width": "base width b",
    "size": "image size, pixels a side",
}
TASKS = {True: "training step", False: "inference"}
FULL: dict[str, tuple[int, ...]] = {
    "T": (1, 2, 4, 8, 16),
    "batch": (1, 4, 16, 64),
    "width": (8, 16, 32, 64),
    "size": (32, 64, 128, 224),
}
SMALL: dict[str, tuple[int, ...]] = {"T": (1, 2), "batch": (1, 2), "width": (1, 2), "size": (32, 48)}


def point(axis: str, value: int, training: bool, device: str, quick: bool) -> Work:
    """The work at one point of an axis; a bit-plane code has T = 8, so T is varied on the SEW peer."""
    base = {"T": 8, "batch": 2, "width": 1, "size": 32} if quick else {"T": 8, "batch": 8, "width": 32, "size": 64}
    at = base | {axis: value}
    subject = "sew_resnet18" if axis == "T" else "ours"
    model = f"resnet_b{at['width']}_m2_d{1 if quick else 4}"
    return Work(subject, model, "ste", at["size"], at["batch"], training, "float32", device, at["T"])


def exponent(rows: Sequence[dict[str, Any]]) -> float:
    """The slope of log time over log value, by least squares: 1 is proportional."""
    xs, ys = ([math.log(row[key]) for row in rows] for key in ("value", "median_s"))
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    rise = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return rise / sum((x - mean_x) ** 2 for x in xs)


def measure_scaling(repeats: int, device: str, quick: bool) -> list[dict[str, Any]]:
    """One row for each axis, task and value; the points of one axis are interleaved."""
    rows = []
    for axis, values in (SMALL if quick else FULL).items():
        points = {
            (training, value): point(axis, value, training, device, quick) for training in TASKS for value in values
        }
        steps = {str(key): build_step(work) for key, work in points.items()}
        taken = interleave(steps, repeats, time_step)
        for training in TASKS:
            line = [
                {"axis": axis, "task": TASKS[training], "value": value, **spread(taken[str((training, value))])}
                for value in values
            ]
            rows += [row | {"exponent": exponent(line)} for row in line]
    return rows


def scaling_cells(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """Lines of the table: one for each axis and task."""
    lines: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        lines.setdefault((row["axis"], row["task"]), []).append(row)
    return [
        [
            AXES[axis],
            task,
            "  ".join(f"{row['value']}: {1000 * row['median_s']:.0f}" for row in line),
            f"{line[0]['exponent']:.2f}",
        ]
        for (axis, task), line in lines.items()
    ]


def _draw(axes: Axes, rows: Sequence[dict[str, Any]], axis: str) -> None:
    for task, style in zip(TASKS.values(), ("o-", "s--"), strict=True):
        line = [row for row in rows if row["axis"] == axis and row["task"] == task]
        values = [row["value"] for row in line]
        label = f"{task}: grows as x$^{{{line[0]['exponent']:.2f}}}$"
        axes.plot(values, [1000 * row["median_s"] for row in line], style, label=label)
    axes.set(xlabel=AXES[axis], xscale="log", yscale="log")
    axes.set_xticks(values, [str(value) for value in values])
    axes.minorticks_off()
    axes.grid(True, color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize="small")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def picture(rows: Sequence[dict[str, Any]]) -> bytes:
    """A PNG of four panels, milliseconds over each axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(AXES), figsize=(14, 3.9), layout="constrained")
    for axes, axis in zip(panels, AXES, strict=True):
        _draw(axes, rows, axis)
    panels[0].set_ylabel("time of a step [ms], median")
    figure.suptitle(
        "Time of a hybrid's step as one thing grows; the others stay at 8 images of 64 pixels, width 32, T = 8"
    )
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    pyplot.close(figure)
    return content.getvalue()
