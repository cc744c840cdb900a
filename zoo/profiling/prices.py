"""Prices of every operation outside convolutions and linear layers, and the modules that are charged as a whole."""

from __future__ import annotations

from enum import StrEnum

from spikingjelly.activation_based import neuron
from torch import nn

from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.contracts.neuron import Neuron
from zoo.contracts.price import DECODER_PRICES, ENCODER_PRICES, INTEGRATION, NEURON_PRICES, Price, Work
from zoo.families.thresholds import QuantisedReLU

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
    Price("addition", Work(), Work(acs=1), "residuals, and the sum of both branches"): "add sub rsub",
    Price("multiplication", Work(), Work(macs=1), "of tensors, value by value"): "mul div square addcmul",
    Price("comparison", Work(acs=1), reason="a comparison, rounding or sign for every value"): "gt ge lt le eq ne "
    "clamp clamp_min clamp_max hardtanh maximum minimum max min amax amin argmax argmin aminmax abs sign floor ceil "
    "round trunc heaviside threshold remainder fmod topk sort where masked_fill",
    Price("function", Work(1, 1), reason="of every value: a table and a line between its points; assumed"): "exp exp2 "
    "expm1 log log2 log1p sqrt rsqrt reciprocal erf sin cos sigmoid tanh pow atan softplus elu hardsigmoid log_sigmoid",
    Price(
        "gated function", Work(2, 1), reason="a function and a multiplication for every value"
    ): "gelu silu hardswish mish glu",
    Price(
        "softmax", Work(2, 4), reason="largest value, difference, exponential, sum and quotient for every value"
    ): "_softmax _log_softmax _safe_softmax",
    Price(
        "layer norm", Work(2, 2), reason="mean, variance, difference, scale and shift for every value"
    ): "native_layer_norm native_group_norm _fused_rms_norm",
    Price(
        "variance, length", Work(1, 1), reason="a difference and a square for every value"
    ): "var var_mean std std_mean linalg_vector_norm norm",
    Price(
        "max pooling", Work(acs=1), reason="a comparison for every value of a window, borders counted whole"
    ): "max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d adaptive_max_pool3d",
    Price(
        "average pooling, mean", Work(acs=1), Work(macs=1), "adds every value of a window; one scaling at the end"
    ): "avg_pool2d avg_pool3d _adaptive_avg_pool2d _adaptive_avg_pool3d mean",
    Price("interpolation", Work(), Work(macs=4), "four neighbours of every value"): "upsample_bilinear2d "
    "upsample_linear1d upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa grid_sampler_2d",
    Price("sum", Work(acs=1), reason="adds every value"): "sum cumsum prod cumprod",
    Price("ReLU", Work(acs=1), reason="a comparison with 0"): "relu",
    Price("leaky ReLU", Work(1, 1), reason="a comparison with 0 and a multiplication"): "leaky_relu _prelu_kernel",
    MOVE: "alias all any arange as_strided bernoulli bitwise_and bitwise_not bitwise_or cat channel_shuffle clone "
    "constant_pad_nd copy detach diagonal embedding empty empty_like empty_strided expand eye fill flip full full_like "
    "gather index index_put index_select isnan lift_fresh linspace logical_and logical_not logical_or meshgrid "
    "native_dropout neg new_empty new_full new_ones new_zeros normal ones ones_like permute pixel_shuffle "
    "pixel_unshuffle rand rand_like randn randn_like reflection_pad2d repeat replication_pad2d roll scalar_tensor "
    "scatter select select_scatter set slice slice_scatter split split_with_sizes squeeze stack t transpose tril triu "
    "unbind unfold uniform unsafe_split unsqueeze upsample_nearest2d view zero zeros zeros_like _local_scalar_dense "
    "_reshape_alias _to_copy _unsafe_view",
}
"""Price → names of torch's operators."""
PRICES = (
    *ENCODER_PRICES,
    *DECODER_PRICES,
    *NEURON_PRICES,
    FOLDED_NORM,
    FOLDED_SCALE,
    QUANTISED,
    NORM,
    *_OPERATORS,
)
"""Prices that do not depend on the installed components: the defaults of those that declare none, and the rest.

A price counts every value read or written; of overlapping windows, every value of every window is read.
"""

BY_OPERATOR = {name: price for price, names in _OPERATORS.items() for name in names.split()}
"""Name of an operator, without the _ of one that works in place → its price."""
POOLING = ("max_pool2d_with_indices", "max_pool3d_with_indices", "avg_pool2d", "avg_pool3d")
"""Operators whose second argument is a window, (k,) or (k, k). Batch norms behind them fold as behind a layer."""

CHARGED_WHOLE = (*NEURONS, Encoder, Decoder, QuantisedReLU)
"""Modules that are charged as a whole, whatever they compute inside."""


def prices_of(module: nn.Module) -> tuple[Part, tuple[Price, ...]]:
    """Return part and prices of a module that is charged as a whole."""
    if isinstance(module, (Encoder, Decoder, Neuron)):
        return Part.NEURONS if isinstance(module, Neuron) else Part.CODING, module.prices
    if isinstance(module, QuantisedReLU):
        return Part.REST, (QUANTISED,)
    # spikingjelly's own declare nothing. A subclass may do more than integrate; what IFNode itself does is known.
    return Part.NEURONS, (INTEGRATION,) if isinstance(module, neuron.IFNode) else NEURON_PRICES
