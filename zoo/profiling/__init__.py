"""The cost of a model: parameters, MACs, spikes, synaptic operations, energy; beside it the network without spikes."""

from zoo.catalog import in_digits
from zoo.contracts.energy import EnergyModel, Picojoules, Prices, SpikeRate, SynapticLayer
from zoo.profiling.activity import RULES, OperationCounts, Part, Rule, charged
from zoo.profiling.counting import Cost, Layer, count_cost
from zoo.profiling.energy import (
    CONTAINS_CONTROL,
    BreakEven,
    Energy,
    Estimate,
    break_even,
)
from zoo.profiling.report import Control, Profile, preprocessing_of, profile

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
    "Prices",
    "Profile",
    "Rule",
    "SpikeRate",
    "SynapticLayer",
    "break_even",
    "charged",
    "count_cost",
    "in_digits",
    "preprocessing_of",
    "profile",
]
