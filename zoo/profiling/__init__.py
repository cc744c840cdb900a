"""What a model costs: parameters, MACs, spikes, synaptic operations, energy; beside it the network without spikes.

Everything is imported on first use: whoever asks for a name here pays for fvcore, nobody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import attach

if TYPE_CHECKING:
    from zoo.catalog.schema import in_digits
    from zoo.contracts.energy import Picojoules, SpikeRate, SynapticLayer
    from zoo.profiling.activity import OperationCounts
    from zoo.profiling.energy import Energy
    from zoo.profiling.energy_comparison import CONTAINS_CONTROL, BreakEven, Estimate, break_even
    from zoo.profiling.energy_models import EnergyModel
    from zoo.profiling.macs import Cost, Layer, count_cost
    from zoo.profiling.report import Control, Profile, preprocessing_of, profile
    from zoo.profiling.rules import RULES, Part, Rule, charged
    from zoo.profiling.second_count import count_by_torch

_HOMES = {
    "BreakEven": "zoo.profiling.energy_comparison",
    "CONTAINS_CONTROL": "zoo.profiling.energy_comparison",
    "EnergyModel": "zoo.profiling.energy_models",
    "Estimate": "zoo.profiling.energy_comparison",
    "Picojoules": "zoo.contracts.energy",
    "break_even": "zoo.profiling.energy_comparison",
    "in_digits": "zoo.catalog.schema",
    "OperationCounts": "zoo.profiling.activity",
    "Control": "zoo.profiling.report",
    "Cost": "zoo.profiling.macs",
    "Energy": "zoo.profiling.energy",
    "Layer": "zoo.profiling.macs",
    "Part": "zoo.profiling.rules",
    "Profile": "zoo.profiling.report",
    "RULES": "zoo.profiling.rules",
    "Rule": "zoo.profiling.rules",
    "SpikeRate": "zoo.contracts.energy",
    "SynapticLayer": "zoo.contracts.energy",
    "charged": "zoo.profiling.rules",
    "count_by_torch": "zoo.profiling.second_count",
    "count_cost": "zoo.profiling.macs",
    "preprocessing_of": "zoo.profiling.report",
    "profile": "zoo.profiling.report",
}

__all__ = [
    "CONTAINS_CONTROL",
    "RULES",
    "BreakEven",
    "Control",
    "Cost",
    "Energy",
    "EnergyModel",
    "Estimate",
    "Layer",
    "OperationCounts",
    "Part",
    "Picojoules",
    "Profile",
    "Rule",
    "SpikeRate",
    "SynapticLayer",
    "break_even",
    "charged",
    "count_by_torch",
    "count_cost",
    "in_digits",
    "preprocessing_of",
    "profile",
]

__getattr__, __dir__ = attach(__name__, _HOMES)
