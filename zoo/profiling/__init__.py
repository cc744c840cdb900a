"""Cost of a model: parameters, MACs, spikes, synaptic operations, energy; beside it its control and its twin."""

from zoo.contracts.energy import Picojoules
from zoo.profiling.energy import CONTAINS_CONTROL, BreakEven, Estimate, break_even
from zoo.profiling.macs import Cost, Layer, count_cost
from zoo.profiling.prices import PRICES, Part
from zoo.profiling.recorder import OperationCounts
from zoo.profiling.report import Profile, profile
from zoo.profiling.rivals import twin_of

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
    "twin_of",
]
