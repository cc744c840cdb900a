"""What a model costs: parameters, MACs, spikes, synaptic operations, energy; beside it the network without spikes.

Everything is imported on first use: whoever asks for a name here pays for fvcore, nobody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import attach

if TYPE_CHECKING:
    from zoo.profiling.activity import OperationCounts, SpikeRate, SynapticLayer
    from zoo.profiling.energy import Energy
    from zoo.profiling.macs import Cost, Layer, count_cost
    from zoo.profiling.report import Control, Profile, preprocessing_of, profile
    from zoo.profiling.rules import RULES, Part, Rule, charged
    from zoo.profiling.second_count import count_by_torch

_HOMES = {
    "OperationCounts": "zoo.profiling.activity",
    "Control": "zoo.profiling.report",
    "Cost": "zoo.profiling.macs",
    "Energy": "zoo.profiling.energy",
    "Layer": "zoo.profiling.macs",
    "Part": "zoo.profiling.rules",
    "Profile": "zoo.profiling.report",
    "RULES": "zoo.profiling.rules",
    "Rule": "zoo.profiling.rules",
    "SpikeRate": "zoo.profiling.activity",
    "SynapticLayer": "zoo.profiling.activity",
    "charged": "zoo.profiling.rules",
    "count_by_torch": "zoo.profiling.second_count",
    "count_cost": "zoo.profiling.macs",
    "preprocessing_of": "zoo.profiling.report",
    "profile": "zoo.profiling.report",
}

__all__ = [
    "RULES",
    "Control",
    "Cost",
    "Energy",
    "Layer",
    "OperationCounts",
    "Part",
    "Profile",
    "Rule",
    "SpikeRate",
    "SynapticLayer",
    "charged",
    "count_by_torch",
    "count_cost",
    "preprocessing_of",
    "profile",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
