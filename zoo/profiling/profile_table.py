"""A profile as a reader of a notebook sees it: about ten lines, the control beside the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zoo.profiling.report import Profile


def profile_table(profile: Profile) -> str:
    """Lines of `figure, model, control`; the last one says where the rest is."""
    size = f"{profile.image_size}×{profile.image_size} pixels"
    weights = f", {profile.weights}" if profile.weights else ""
    control = profile.control.name if profile.control else "–"
    rows = [(f"of one image, {size}", "model", "control"), *_rows(profile)]
    lines = [f"{label:<30}{own:>20}{theirs:>20}" for label, own, theirs in rows]
    foot = f"Profile: {len(profile.layers)} layers in .layers; all of it in .to_json()"
    return "\n".join([f"{profile.name}{weights}", f"control: {control}", *lines, foot])


def _rows(profile: Profile) -> Iterator[tuple[str, str, str]]:
    cost = profile.control.cost if profile.control else None
    counts = {
        "parameters": "params",
        "MACs a timestep": "macs_per_timestep",
        "MACs": "macs",
        "timesteps T": "timesteps",
    }
    for label, name in counts.items():
        yield label, f"{getattr(profile, name):,}", "–" if cost is None else f"{getattr(cost, name):,}"
    if profile.energy is not None and profile.activity is not None:
        theirs = profile.control.energy if profile.control else None
        yield "energy, µJ", f"{profile.energy.pj / 1e6:,.3f}", "–" if theirs is None else f"{theirs.pj / 1e6:,.3f}"
        rate = profile.activity.spike_rate
        yield "spike rate", "–" if rate is None else f"{rate:.4f}", "–"
