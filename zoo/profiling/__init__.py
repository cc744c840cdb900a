"""What a model costs: parameters, MACs, spikes, synaptic operations, energy; beside it the network without spikes.

Everything is imported on first use: whoever asks for a name here pays for fvcore, nobody else.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.profiling.activity import Activity, SpikeRate, SynapticLayer
    from zoo.profiling.energy import Energy
    from zoo.profiling.macs import Cost, Layer, count_cost
    from zoo.profiling.report import Control, Profile, preprocessing_of, profile
    from zoo.profiling.rules import RULES, Part, Rule, charged

_HOMES = {
    "Activity": "activity",
    "Control": "report",
    "Cost": "macs",
    "Energy": "energy",
    "Layer": "macs",
    "Part": "rules",
    "Profile": "report",
    "RULES": "rules",
    "Rule": "rules",
    "SpikeRate": "activity",
    "SynapticLayer": "activity",
    "charged": "rules",
    "count_cost": "macs",
    "preprocessing_of": "report",
    "profile": "report",
}

__all__ = [
    "RULES",
    "Activity",
    "Control",
    "Cost",
    "Energy",
    "Layer",
    "Part",
    "Profile",
    "Rule",
    "SpikeRate",
    "SynapticLayer",
    "charged",
    "count_cost",
    "preprocessing_of",
    "profile",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
