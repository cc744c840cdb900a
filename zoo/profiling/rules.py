"""What every operation outside convolutions and linear layers is charged with, as `zoo profile` prints it.

Encoders, decoders and neurons declare their own prices (zoo/contracts/price.py); the rest of a network is priced here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, final

import torch
from spikingjelly.activation_based import neuron
from torch import nn

from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.contracts.neuron import Neuron
from zoo.contracts.price import (
    DECODER_PRICES,
    ENCODER_PRICES,
    INTEGRATION,
    NEURON_PRICES,
    NOTHING,
    Price,
    Work,
)


class Part(StrEnum):
    """Where a cost falls: the parts that a report tells apart."""

    SYNAPSES = "synapses"
    CODING = "coding"
    NEURONS = "neurons"
    REST = "rest"


@final
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


def charged(prices: Iterable[Price], part: Part) -> tuple[Rule, ...]:
    """The rules that these prices make in a part of the cost."""
    return tuple(Rule(price.operation, part, price.read, price.written, price.reason) for price in prices)


_NONE, _MAC, _AC = NOTHING, Work(macs=1), Work(acs=1)

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
    *(
        *charged(ENCODER_PRICES, Part.CODING),
        *charged(DECODER_PRICES, Part.CODING),
        *charged(NEURON_PRICES, Part.NEURONS),
    ),
    *(FOLDED_NORM, NORM, ADDITION, PRODUCT, MAXIMUM, MEAN, SUM, RELU, LEAKY_RELU, MOVE),
)
"""All that does not depend on which components are installed: the defaults of those that declare no price, the rest."""

# Modules that are charged as a whole, whatever they compute inside ----------------------------------------------------

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NEURONS = (Neuron, neuron.BaseNode)
WHOLE = (*LAYERS, *NORMS, *NEURONS, Encoder, Decoder)


def rules_of(module: nn.Module, folded: bool) -> tuple[Rule, ...]:
    """What one of `WHOLE` is charged with beside its synapses; `folded`: its input is a layer's output."""
    if isinstance(module, (Encoder, Decoder)):
        return charged(module.prices, Part.CODING)
    if isinstance(module, Neuron):
        return charged(module.prices, Part.NEURONS)
    if isinstance(module, neuron.BaseNode):
        # spikingjelly's own declare nothing. A subclass may do more than integrate; what IFNode itself does is known.
        return charged((INTEGRATION,) if isinstance(module, neuron.IFNode) else NEURON_PRICES, Part.NEURONS)
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
