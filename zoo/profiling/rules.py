"""What every operation outside convolutions and linear layers is charged with: one table, printed by `zoo profile`.

A comparison is charged as an accumulate (it is a subtraction), a multiplication on its own as a multiply-accumulate.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from spikingjelly.activation_based import neuron
from torch import nn

from zoo.contracts.modules import Decoder, Encoder, Neuron
from zoo.decoders.averages import BitPlaneDecoder, RateDecoder


class Part(StrEnum):
    """Where a cost falls: the parts that a report tells apart."""

    SYNAPSES = "synapses"
    CODING = "coding"
    NEURONS = "neurons"
    REST = "rest"


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates and accumulates."""

    macs: int = 0
    acs: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.macs + other.macs, self.acs + other.acs)

    def __mul__(self, times: int) -> Work:
        return Work(self.macs * times, self.acs * times)


@dataclass(frozen=True)
class Rule:
    """The price of one operation; T timesteps hold T times the values.

    Attributes:
        operation: its name in reports.
        part: where the cost falls.
        read: for every value that it reads; of overlapping windows, every value of every window.
        written: for every value that it writes.
        reason: why so.
    """

    operation: str
    part: Part
    read: Work
    written: Work
    reason: str

    def work(self, read: int, written: int) -> Work:
        """What these numbers of values cost."""
        return self.read * read + self.written * written


_NONE, _MAC, _AC = Work(), Work(macs=1), Work(acs=1)

RANGE_STEP = Rule(
    "range step",
    Part.CODING,
    Work(1, 2),
    _NONE,
    "looks for lo and hi (2 comparisons); (x − lo)·255/(hi − lo) is one multiply-accumulate",
)
DIGITS = Rule("bit-plane encoder", Part.CODING, _AC, _NONE, "rounds; the binary digits are then there to be read")
THRESHOLDS = Rule(
    "other encoder", Part.CODING, _NONE, _AC, "compares with a threshold in every timestep; assumed of a plugin's too"
)
DECODER = Rule(
    "decoder",
    Part.CODING,
    _AC,
    _MAC,
    "adds a shifted value in every timestep; one scaling, by 1/255 or 1/T, at the end",
)
OTHER_DECODER = Rule("other decoder", Part.CODING, _MAC, _NONE, "assumed of a plugin's: a weighted sum over timesteps")
INTEGRATOR = Rule(
    "integrate-and-fire neuron", Part.NEURONS, Work(0, 2), _NONE, "adds the current, compares with the threshold"
)
LEAKY_NEURON = Rule(
    "leaky or other neuron",
    Part.NEURONS,
    Work(1, 2),
    _NONE,
    "x − v, times 1/τ onto v, compared with the threshold; assumed of a plugin's too",
)
FOLDED_NORM = Rule(
    "batch norm behind a layer",
    Part.REST,
    _NONE,
    _NONE,
    "folded at inference into the weights, and into the bias, where an accumulator starts",
)
NORM = Rule("other batch norm", Part.REST, _MAC, _NONE, "one scale and shift for every value")
ADDITION = Rule("addition", Part.REST, _NONE, _AC, "residuals, and the sum of both branches")
PRODUCT = Rule("multiplication", Part.REST, _NONE, _MAC, "of tensors, value by value")
MAXIMUM = Rule("max pooling", Part.REST, _AC, _NONE, "a comparison for every value of a window, borders counted whole")
MEAN = Rule("average pooling, mean", Part.REST, _AC, _MAC, "adds every value of a window; one scaling at the end")
SUM = Rule("sum", Part.REST, _AC, _NONE, "adds every value")
RELU = Rule("ReLU", Part.REST, _AC, _NONE, "a comparison with 0")
LEAKY_RELU = Rule("leaky ReLU", Part.REST, Work(1, 1), _NONE, "a comparison with 0 and a multiplication")
MOVE = Rule("view, copy, concatenation", Part.REST, _NONE, _NONE, "moves values, computes none")

RULES = (
    *(RANGE_STEP, DIGITS, THRESHOLDS, DECODER, OTHER_DECODER, INTEGRATOR, LEAKY_NEURON),
    *(FOLDED_NORM, NORM, ADDITION, PRODUCT, MAXIMUM, MEAN, SUM, RELU, LEAKY_RELU, MOVE),
)

# Modules that are charged as a whole, whatever they compute inside ----------------------------------------------------

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NEURONS = (Neuron, neuron.BaseNode)
WHOLE = (*LAYERS, *NORMS, *NEURONS, Encoder, Decoder)


def rules_of(module: nn.Module, folded: bool) -> tuple[Rule, ...]:
    """What one of `WHOLE` is charged with beside its synapses; `folded`: its input is a layer's output."""
    if isinstance(module, Encoder):
        return (RANGE_STEP, DIGITS if module.code.startswith("binary-") else THRESHOLDS)
    if isinstance(module, Decoder):
        return (DECODER if isinstance(module, (BitPlaneDecoder, RateDecoder)) else OTHER_DECODER,)
    if isinstance(module, NEURONS):
        # A subclass may do more than integrate; what IFNode itself and the zoo's own node do is known.
        plain = isinstance(module, neuron.IFNode)
        return (INTEGRATOR if plain else LEAKY_NEURON,)
    if isinstance(module, NORMS):
        return (FOLDED_NORM if folded else NORM,)
    return ()


# Operations outside these modules -------------------------------------------------------------------------------------

_aten = torch.ops.aten

_MOVES = (
    *("alias", "arange", "as_strided", "cat", "clone", "copy_", "detach", "empty", "empty_like", "expand", "full"),
    *("lift_fresh", "ones", "ones_like", "permute", "select", "slice", "split", "split_with_sizes", "squeeze", "stack"),
    *("t", "transpose", "unbind", "unsqueeze", "view", "zeros", "zeros_like", "_reshape_alias", "_to_copy"),
    "_unsafe_view",
)

OPERATIONS: dict[Any, Rule] = {
    _aten.add: ADDITION,
    _aten.add_: ADDITION,
    _aten.sub: ADDITION,
    _aten.sub_: ADDITION,
    _aten.mul: PRODUCT,
    _aten.mul_: PRODUCT,
    _aten.div: PRODUCT,
    _aten.div_: PRODUCT,
    _aten.max_pool2d_with_indices: MAXIMUM,
    _aten.avg_pool2d: MEAN,
    _aten._adaptive_avg_pool2d: MEAN,
    _aten.mean: MEAN,
    _aten.sum: SUM,
    _aten.relu: RELU,
    _aten.relu_: RELU,
    _aten.leaky_relu: LEAKY_RELU,
    _aten.leaky_relu_: LEAKY_RELU,
    **{getattr(_aten, name): MOVE for name in _MOVES},
}
WINDOWED = (_aten.max_pool2d_with_indices, _aten.avg_pool2d)
"""Operations whose second argument is a window, (k,) or (k, k)."""
