"""Cost of a model: parameters, MACs, spikes, synaptic operations, energy; beside it the network without spikes."""

from zoo.contracts.energy import Picojoules
from zoo.profiling.counting import PRICES, Cost, Layer, OperationCounts, Part, count_cost
from zoo.profiling.energy import CONTAINS_CONTROL, BreakEven, Estimate, break_even
from zoo.profiling.report import Profile, profile

__all__ = [
    "CONTAINS_CONTROL",
    "PRICES",
    "BreakEven",
    "Cost",
    "Estimate",
    "Layer",
    "OperationCounts",
    "Part",
    "Picojoules",
    "Profile",
    "break_even",
    "count_cost",
    "profile",
]
