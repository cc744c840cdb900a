"""How much each plane's surrogate derivative varies over the intensity range (paper eq. 13), beside the closed form.

Variance over I in [0, 256) of γ_k f_k′(I). By Parseval the five-term Fourier series has 10/4^k without γ and
10 k²/4⁷ with it. The derivatives are periodic there, so an even grid integrates them to rounding.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer

from benchmarks.common.reporting import RESULTS, Out, print_table, write_beside, write_result
from zoo.encoders.surrogates import PLANES, Wave, fourier_slope, order_scale, sigmoid_slope, tanh_slope

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SLOPES: dict[str, Wave] = {"sigmoid": sigmoid_slope, "tanh": tanh_slope, "fourier": fourier_slope}
LEVELS = 256
TOLERANCE = 1e-9
# Okabe and Ito's palette, told apart also without colour vision; markers and dashes repeat the difference.
STYLES: dict[str, dict[str, Any]] = {
    "sigmoid": {"color": "#CC79A7", "marker": "s", "linestyle": "--", "markersize": 5},
    # tanh lies a few percent above fourier: wide and pale, it shows on both sides of it.
    "tanh": {"color": "#E69F00", "marker": "^", "linestyle": "-", "linewidth": 5, "markersize": 10},
    "fourier": {"color": "#0072B2", "marker": "o", "linestyle": "-", "markersize": 4},
}

app = typer.Typer(add_completion=False)


def range_variance(slope: Wave, plane: int, scaled: bool, samples: int) -> float:
    """Mean of squares minus square of mean of γ_k f_k′(I), on an even float64 grid of [0, 256)."""
    intensity = torch.arange(samples, dtype=torch.float64) * (LEVELS / samples)
    values = slope(intensity, plane) * (order_scale(plane) if scaled else 1.0)
    return float((values * values).mean() - values.mean() ** 2)


def closed_form(plane: int, scaled: bool) -> float:
    """The Fourier series' variance: 10/4^k, or 10 k²/4⁷ with γ."""
    return 10 * plane**2 / 4**7 if scaled else 10 / 4**plane


def relative_difference(measured: float, expected: float) -> float:
    """|measured − expected| / |expected|; where zero is expected, zero alone is not a difference."""
    if expected == 0:
        return 0.0 if measured == 0 else math.inf
    return abs(measured - expected) / abs(expected)


def measure(samples: int) -> Iterator[dict[str, Any]]:
    """One row for each γ and plane."""
    for scaled in (False, True):
        for plane in range(PLANES):
            row: dict[str, Any] = {"gamma": scaled, "plane": plane, "scale": order_scale(plane) if scaled else 1.0}
            row |= {name: range_variance(slope, plane, scaled, samples) for name, slope in SLOPES.items()}
            expected = closed_form(plane, scaled)
            yield row | {
                "fourier_closed_form": expected,
                "relative_difference": relative_difference(row["fourier"], expected),
            }


def draw_panel(axes: Axes, rows: Sequence[dict[str, Any]], title: str) -> None:
    """Variance against plane on a log axis; a variance of zero has no place there and is left out."""
    shown = [row for row in rows if row["fourier_closed_form"] > 0]
    planes = [row["plane"] for row in shown]
    for name, style in STYLES.items():
        axes.plot(planes, [row[name] for row in shown], label=name, **style)
    closed = [row["fourier_closed_form"] for row in shown]
    axes.plot(planes, closed, "o", color="black", fillstyle="none", markersize=11, label="fourier, closed form")
    axes.set(title=title, xlabel="bit plane k (0 is the least significant)", yscale="log", xlim=(-0.4, PLANES - 0.6))
    axes.set_xticks(range(PLANES))
    axes.grid(True, which="major", color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def picture(rows: Sequence[dict[str, Any]]) -> bytes:
    """A PNG of two panels on one scale: without and with γ."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (raw, scaled) = pyplot.subplots(1, 2, figsize=(10, 4.4), sharey=True, layout="constrained")
    draw_panel(raw, [row for row in rows if not row["gamma"]], "without γ: 10 / 4$^k$ (fourier)")
    draw_panel(scaled, [row for row in rows if row["gamma"]], "with γ: 10 k² / 4$^7$ (fourier)")
    raw.set_ylabel("variance over the levels I in [0, 256)")
    note = {"rotation": 90, "ha": "center", "color": "0.35", "backgroundcolor": "white"}
    scaled.text(0, 0.03, "γ = 0: no gradient", transform=scaled.get_xaxis_transform(), **note)
    raw.legend(frameon=False)
    figure.suptitle("How far the surrogate gradient of each encoder varies, bit plane by bit plane")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    pyplot.close(figure)
    return content.getvalue()


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print one table for both halves."""
    print_table(
        "Variance of the surrogate derivative over I in [0, 256)",
        ["γ", "k", "γ_k", "sigmoid", "tanh", "fourier", "closed form", "rel. difference"],
        [
            ["with" if row["gamma"] else "without", str(row["plane"]), f"{row['scale']:.4g}"]
            + [f"{row[key]:.6g}" for key in (*SLOPES, "fourier_closed_form")]
            + [f"{row['relative_difference']:.1e}"]
            for row in rows
        ],
    )


def write_all(rows: Sequence[dict[str, Any]], samples: int, out: Path) -> float:
    """JSON and PNG; returns the largest relative difference."""
    worst: float = max(row["relative_difference"] for row in rows)
    verdict = {"largest_relative_difference": worst, "tolerance": TOLERANCE, "within": worst <= TOLERANCE}
    path = write_result(out, "surrogate_variance", {"samples": samples, "rows": list(rows), "verdict": verdict})
    write_beside(path.with_suffix(".png"), picture(rows))
    typer.echo(f"wrote {path} and {path.with_suffix('.png').name}")
    return worst


@app.command()
def main(
    samples: Annotated[int, typer.Option(min=8192, help="Points of the grid; 9 harmonics want over 4608.")] = 2**20,
    out: Out = RESULTS,
) -> None:
    """Measure, print, draw; exit status 1 where the Fourier series misses its closed form."""
    torch.set_num_threads(1)
    rows = list(measure(samples))
    show(rows)
    worst = write_all(rows, samples, out)
    met = worst <= TOLERANCE
    typer.echo(f"fourier: off its closed form by at most {worst:.1e}, {'within' if met else 'OVER'} {TOLERANCE:.0e}")
    raise typer.Exit(0 if met else 1)


if __name__ == "__main__":
    app()
