"""Cost of a model: parameters, MACs, spikes, synaptic operations, energy; beside it its control and its twin."""

from zoo.contracts.energy import Picojoules as Picojoules
from zoo.profiling.energy import CONTAINS_CONTROL as CONTAINS_CONTROL
from zoo.profiling.energy import BreakEven as BreakEven
from zoo.profiling.energy import Estimate as Estimate
from zoo.profiling.energy import break_even as break_even
from zoo.profiling.macs import Cost as Cost
from zoo.profiling.macs import Layer as Layer
from zoo.profiling.macs import count_cost as count_cost
from zoo.profiling.prices import PRICES as PRICES
from zoo.profiling.prices import Part as Part
from zoo.profiling.recorder import OperationCounts as OperationCounts
from zoo.profiling.report import Profile as Profile
from zoo.profiling.report import profile as profile
from zoo.profiling.rivals import twin_of as twin_of
