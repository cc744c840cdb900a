"""The pictures of `benchmarks.energy_break_even`: a hybrid's surcharge, and where spikes equal their control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmarks.common.reporting import svg_of
from zoo.inference.show import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The models that are drawn: others would need values of a trained control.
# Okabe and Ito's palette; the dashes repeat the difference for readers who see no colours.
STYLES: dict[str, dict[str, Any]] = {
    "arithmetic-float32": {"color": COLOURS["ann"], "linestyle": "-"},
    "arithmetic-int8": {"color": "#56B4E9", "linestyle": "--"},
    "memory-float32": {"color": COLOURS["sew"], "linestyle": "-"},
    "loihi-synapses": {"color": COLOURS["has8"], "linestyle": "-"},
    "spikingjelly-compute": {"color": COLOURS["snn"], "linestyle": ":"},
    "spikingjelly-memory": {"color": "#E69F00", "linestyle": "-."},
    "spikesim-dense": {"color": "#000000", "linestyle": "-"},
    "spikesim-event": {"color": "0.5", "linestyle": "--"},
}
IN_WORDS = {
    "arithmetic-float32": "arithmetic alone, 32-bit (Horowitz 2014)",
    "arithmetic-int8": "arithmetic alone, 8-bit (Horowitz 2014)",
    "memory-float32": "arithmetic and on-chip memory, 32-bit",
    "loihi-synapses": "spikes on Loihi, the rest 32-bit arithmetic",
    "spikingjelly-compute": "spikingjelly's count, arithmetic",
    "spikingjelly-memory": "spikingjelly's count, arithmetic and weights read",
    "spikesim-dense": "SpikeSim, crossbars that always run",
    "spikesim-event": "SpikeSim, crossbars that run on spikes (bound)",
}
RATES = [step / 200 for step in range(61)]
"""0 to 0.3 spikes per neuron and timestep."""
TIMESTEPS = [2 ** (step / 20) for step in range(81)]
"""1 to 16."""


def ratio_at(model: Mapping[str, Any], rate: float, today: float) -> float:
    """Energy over the control's if all spikes became fewer or more by the factor `rate` / `today`."""
    energy = model["network"]
    changed: float = energy["total"] + energy["spikes"] * (rate / today - 1)
    return changed / float(model["control_pj"])


def equal_rate(model: Mapping[str, Any], timesteps: float, today: float, timesteps_today: int) -> float | None:
    """The spike rate at which a network equals its control at T timesteps; None where spikes do not matter.

    What is done once stays, everything else is done T times, and the spikes of it change with the rate.
    """
    energy = model["network"]
    if not energy["spikes"]:
        return None
    once = energy["total"] - energy["timesteps"]
    allowed = (float(model["control_pj"]) - once) * timesteps_today / timesteps
    return float(today * (1 + (allowed - energy["timesteps"]) / energy["spikes"]))


def equal_timesteps(model: Mapping[str, Any], timesteps_today: int) -> float:
    """T at which a network equals its control at today's spike rate."""
    energy = model["network"]
    left = float(model["control_pj"]) - energy["total"]
    return float(timesteps_today * (1 + left / energy["timesteps"]))


def draw_surcharge(axes: Axes, network: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> None:
    """Energy over the control's against the spike rate; points are networks that were trained on to fewer spikes."""
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    today = network["spike_rate"]
    for model in network["models"]:
        axes.plot(RATES, [ratio_at(model, rate, today) for rate in RATES], linewidth=2, **STYLES[model["name"]])
        for point in points:
            color = STYLES[model["name"]]["color"]
            axes.plot(point["spike_rate"], point["ratios"][model["name"]], marker="o", markersize=5, color=color)
    axes.axhline(1, color="#808080", linewidth=1)
    axes.annotate("its control, without spikes", (0.295, 1.02), ha="right", va="bottom")
    axes.axvline(today, color="#808080", linewidth=1, linestyle=(0, (2, 3)))
    axes.annotate(f"as trained: {today:.2f}", (today, 30), xytext=(4, 0), textcoords="offset points")
    if points:
        axes.annotate("dots: trained to spike\nless, measured", (0.02, 0.97), xycoords="axes fraction", va="top")
    axes.set(
        xlabel="spikes per neuron and timestep",
        ylabel="energy ÷ control",
        yscale="log",
        xlim=(0, 0.3),
        ylim=(0.9, 40),
    )
    axes.set_yticks([1, 2, 5, 10, 20, 40])
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())


def draw_equality(axes: Axes, network: Mapping[str, Any]) -> None:
    """The spike rate of equal energy against T: below a line the network costs less than its control."""
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    today, now = network["spike_rate"], network["timesteps"]
    for model in network["models"]:
        style = STYLES[model["name"]]
        rates = [rate for steps in TIMESTEPS if (rate := equal_rate(model, steps, today, now)) is not None]
        if not rates:  # it does not depend on spikes
            axes.axvline(equal_timesteps(model, now), linewidth=2, **style)
        else:
            axes.plot(TIMESTEPS, rates, linewidth=2, **style)
    axes.axvline(now, color="#808080", linewidth=1, linestyle=(0, (2, 3)))
    axes.annotate(f"T = {now}", (now, 0.0012), xytext=(4, 0), textcoords="offset points")
    side = "below and left of a line it costs\nless than its control"
    axes.annotate(side, (0.97, 0.98), xycoords="axes fraction", ha="right", va="top")
    axes.set(
        xlabel="timesteps T",
        ylabel="spikes per neuron and timestep at equal energy",
        xscale="log",
        xlim=(0.95, 16),
        yscale="log",
        ylim=(0.001, 1),
    )
    axes.set_xticks([1, 2, 4, 8, 16])
    axes.set_yticks([0.001, 0.01, 0.1, 1], ["0.001", "0.01", "0.1", "1"])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())


def draw(network: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> bytes:
    """One network's picture, SVG: its surcharge if it contains its control, else where it equals it."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with matplotlib.rc_context({"font.size": 11}):
        figure = Figure(figsize=(8.6, 6.2))
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        if network["contains_control"]:
            draw_surcharge(axes, network, points)
        else:
            draw_equality(axes, network)
        axes.set_title(network["name"])
        axes.grid(True, color="#b0b0b0", linewidth=0.5, alpha=0.5)
        keys = [Line2D([], [], linewidth=2, label=IN_WORDS[name], **style) for name, style in STYLES.items()]
        figure.legend(handles=keys, loc="lower center", ncols=2, frameon=False)
        figure.tight_layout(rect=(0, 0.2, 1, 1))
        return svg_of(figure)
