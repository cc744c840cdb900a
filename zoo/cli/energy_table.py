"""What `zoo profile` prints of the models of energy: a table, what each is, and where network and control are equal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from zoo.profiling import in_digits

if TYPE_CHECKING:
    from zoo.profiling import BreakEven, Estimate, Picojoules, Profile


def model_lines(profile: Profile) -> Iterator[str]:
    """The table; a row for every model of energy."""
    yield f"\n{'model of energy':<24}{'network':>16}{'control':>16}{'ratio':>9}"
    for estimate in profile.estimates:
        if estimate.refusal:
            yield f"{estimate.model.name:<24}   does not run here (below)"
            continue
        ratio = "" if estimate.ratio is None else in_digits(estimate.ratio)
        row = f"{_microjoules(estimate.network):>16}{_microjoules(estimate.control):>16}{ratio:>9}"
        yield f"{estimate.model.name:<24}{row}".rstrip()


def _microjoules(energy: Picojoules | None) -> str:
    return "" if energy is None else f"{energy.total / 1e6:,.3f} µJ"


def model_paragraphs(estimates: Sequence[Estimate]) -> Iterator[str]:
    """What each model is: source, prices, what it charges, what it leaves out."""
    for estimate in estimates:
        model = estimate.model
        scope = f"Charges {model.charges}. Leaves out {model.leaves_out}"
        yield f"{model.name}: {model.prices}. {scope}. Source: {model.source}"
        if estimate.refusal:
            yield f"  {model.name} does not run here: {estimate.refusal}"


def break_even_lines(profile: Profile) -> Iterator[str]:
    """The table of spike rates and timesteps; nothing where the network has no spikes, or contains its control."""
    activity = profile.activity
    if activity is None or not profile.break_even:
        return
    yield f"\nIt would cost what its control costs at a spike rate (now {activity.spike_rate:.4g}; all layers' spikes"
    yield f"change alike) or at T timesteps (now {profile.timesteps}), each with the other as it is:"
    for point in profile.break_even:
        yield f"{point.model:<24}{_rate(point):<40}{_timesteps(point)}".rstrip()


def _rate(point: BreakEven) -> str:
    if point.spike_rate is None:
        return point.spike_rate_note
    return f"{point.spike_rate_note} rate {point.spike_rate:.3g}".strip()


def _timesteps(point: BreakEven) -> str:
    if point.timesteps is None:
        return point.timesteps_note
    note = f" ({point.timesteps_note})" if point.timesteps_note else ""
    return f"T = {point.timesteps:.3g}{note}"
