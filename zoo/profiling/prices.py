"""Prices of every operation outside convolutions and linear layers, and the modules that are charged as a whole."""

from __future__ import annotations

from enum import StrEnum

import torch
from spikingjelly.activation_based import neuron
from torch import nn

from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.contracts.neuron import Neuron
from zoo.contracts.price import DECODER_PRICES, ENCODER_PRICES, INTEGRATION, NEURON_PRICES, Price, Work
from zoo.families.thresholds import QuantisedReLU

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NEURONS = (Neuron, neuron.BaseNode)
"""Layers of neurons: the zoo's contract, and spikingjelly's own nodes."""


class Part(StrEnum):
    """Parts of a cost that a report lists separately."""

    SYNAPSES = "synapses"
    CODING = "coding"
    NEURONS = "neurons"
    REST = "rest"


FOLDED_NORM = Price(
    "batch norm behind a layer",
    reason="folded at inference into the weights, and into the bias, where an accumulator starts",
)
FOLDED_SCALE = Price(
    "threshold of a spiking activation",
    reason="a constant of the layer, folded at inference into the weights before and behind",
)
QUANTISED = Price("quantised ReLU", Work(acs=2), reason="two comparisons; its scale folds into the weights")
NORM = Price("other batch norm", Work(macs=1), reason="one scale and shift for every value")
MOVE = Price("view, copy, concatenation", reason="moves values, computes none")

_OPERATORS = {
    Price("addition", Work(), Work(acs=1), "residuals, and the sum of both branches"): "add add_ sub sub_",
    Price("multiplication", Work(), Work(macs=1), "of tensors, value by value"): "mul mul_ div div_",
    Price(
        "max pooling", Work(acs=1), reason="a comparison for every value of a window, borders counted whole"
    ): "max_pool2d_with_indices",
    Price(
        "average pooling, mean", Work(acs=1), Work(macs=1), "adds every value of a window; one scaling at the end"
    ): "avg_pool2d _adaptive_avg_pool2d mean",
    Price("sum", Work(acs=1), reason="adds every value"): "sum",
    Price("ReLU", Work(acs=1), reason="a comparison with 0"): "relu relu_",
    Price("leaky ReLU", Work(1, 1), reason="a comparison with 0 and a multiplication"): "leaky_relu leaky_relu_",
    MOVE: "alias arange as_strided cat clone copy_ detach empty empty_like expand full lift_fresh ones ones_like "
    "permute select slice split split_with_sizes squeeze stack t transpose unbind unsqueeze view zeros zeros_like "
    "_reshape_alias _to_copy _unsafe_view",
}
"""Price → names of torch's operators."""
PRICES = (
    *(*ENCODER_PRICES, *DECODER_PRICES, *NEURON_PRICES),
    *(FOLDED_NORM, FOLDED_SCALE, QUANTISED, NORM, *_OPERATORS),
)
"""Prices that do not depend on the installed components: the defaults of those that declare none, and the rest.

A price counts every value read or written; of overlapping windows, every value of every window is read.
"""

BY_OPERATOR = {getattr(torch.ops.aten, name): price for price, names in _OPERATORS.items() for name in names.split()}
WINDOWED = (torch.ops.aten.max_pool2d_with_indices, torch.ops.aten.avg_pool2d)
"""Operators whose second argument is a window, (k,) or (k, k)."""

WHOLE = (*LAYERS, *NORMS, *NEURONS, Encoder, Decoder, QuantisedReLU)
"""Modules that are charged as a whole, whatever they compute inside."""


def prices_of(module: nn.Module, folded: bool) -> tuple[Part, tuple[Price, ...]]:
    """Return part and prices of a module that is charged as a whole; `folded`: its input is a layer's output."""
    if isinstance(module, (Encoder, Decoder, Neuron)):
        return Part.NEURONS if isinstance(module, Neuron) else Part.CODING, module.prices
    if isinstance(module, neuron.BaseNode):
        # spikingjelly's own declare nothing. A subclass may do more than integrate; what IFNode itself does is known.
        return Part.NEURONS, (INTEGRATION,) if isinstance(module, neuron.IFNode) else NEURON_PRICES
    if isinstance(module, QuantisedReLU):
        return Part.REST, (QUANTISED,)
    return Part.REST, (FOLDED_NORM if folded else NORM,)
