"""Several runs of one network that differ in their seed: their figures together, in a row and in words."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def summarise_seeds(top1: Sequence[float], spike_rates: Sequence[float | None]) -> dict[str, float | None]:
    """Mean, least and most accuracy, and the mean spike rate; None where nothing spikes.

    Args:
        top1: of each run, in percent.
        spike_rates: of each run, spikes per neuron and timestep.
    """
    rates = [rate for rate in spike_rates if rate is not None]
    return {
        "top1": statistics.mean(top1),
        "least": min(top1),
        "most": max(top1),
        "spike_rate": statistics.mean(rates) if rates else None,
    }


def tell_seeds(row: Mapping[str, Any], seeds: int) -> list[str]:
    """Three cells of a table for a row of `summarise_seeds`: accuracy, spike rate, how many seeds."""
    spread = "" if seeds == 1 else f" ({row['least']:.2f} to {row['most']:.2f})"
    rate = "–" if row["spike_rate"] is None else f"{100 * row['spike_rate']:.1f} %"
    return [f"{row['top1']:.2f}{spread}", rate, str(seeds)]
