"""The picture of what layers that send changes save: additions and energy of a frame against the speed of `pan:`."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial
from statistics import mean
from typing import Any

from zoo.commands import missing_extra

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
except ImportError as error:
    raise missing_extra(error, "a picture of changes", "bench") from error

STYLES: Mapping[str, Mapping[str, Any]] = {
    "frames": {"color": "#000000", "linestyle": "--"},
    "graded": {"color": "#0072B2", "linewidth": 4},
    "digits": {"color": "#E69F00", "marker": "o", "markersize": 4},
    "unary": {"color": "#D55E00"},
}
"""Code, as in `changes.CODES` → its line."""
MODELS = ("lowbit", "lowbit, 5 pJ an access", "memory-shift-add")
"""Energy models that are drawn: of arithmetic, with an access to what is kept, and of all accesses."""
DARK = b"""<style>@media (prefers-color-scheme: dark) { [style*="stroke: #000000"] { stroke: #c9d1d9 !important }
[style*="fill: #000000"], text { fill: #c9d1d9 !important } }</style>
<defs>"""


def draw_changes(content: Mapping[str, Any]) -> bytes:
    """Draw what `python -m zoo_events.changes --json` writes, as SVG for light and dark pages.

    The same content gives the same bytes.
    """
    with matplotlib.rc_context({"font.size": 11, "svg.hashsalt": "has8-zoo", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9.2, 8.2))
        FigureCanvasSVG(figure)
        additions, *energies = figure.subplots(2, 2).flat
        _draw(additions, content, "additions a frame, millions", lambda result: _divided(result["additions"], 1e6))
        for axes, name in zip(energies, MODELS, strict=True):
            ratios = partial(_energy_ratios, name=name)
            _draw(axes, content, f"energy ÷ frame by frame\n{name}", ratios)
        figure.suptitle(f"{content['network']}, {content['images']} images, {content['timesteps']} frames each")
        figure.legend(*additions.get_legend_handles_labels(), loc="lower center", ncols=2, frameon=False)
        figure.tight_layout(rect=(0, 0.07, 1, 1))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
        return buffer.getvalue().replace(b"<defs>", DARK, 1)


def _draw(
    axes: Axes, content: Mapping[str, Any], label: str, values: Callable[[Mapping[str, Any]], Mapping[str, float]]
) -> None:
    """Draw values of each speed, a line a code; below a speed stands the top-1 that all of them have."""
    results = content["speeds"]
    for code, style in STYLES.items():
        axes.plot([values(result)[code] for result in results], label=content["codes"][code], **style)
    names = [f"{result['speed']:g}\n{mean(result['top1_changes']):.1f} %" for result in results]
    axes.set_xticks(range(len(results)), names)
    axes.set_xlabel("speed, pixels a frame, and top-1")
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.grid(True, color="#b0b0b0", linewidth=0.5, alpha=0.5)


def _energy_ratios(result: Mapping[str, Any], name: str) -> Mapping[str, float]:
    energies = result["energy_pj"][name]
    return _divided(energies, energies["frames"])


def _divided(values: Mapping[str, float], by: float) -> Mapping[str, float]:
    return {code: value / by for code, value in values.items()}
