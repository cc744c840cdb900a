"""Count parameters, multiply-accumulates, and the operations that images cause, by branch and by layer.

fvcore counts the MACs of one image (paper, table 3): eval mode, batch 1; `macs` covers all T timesteps,
`macs_per_timestep` is analog + spiking / T. What lies in neither branch counts as analog.

A `Recorder` counts operations while images pass through: of convolutions and linear layers the pairs of a nonzero input
and a weight; of encoders, decoders and neurons the prices that they declare (zoo/contracts/price.py); all else has a
price here, and an operation without one is listed.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from math import prod
from typing import Any, Literal, NamedTuple, cast, final

import torch
from fvcore.nn import FlopCountAnalysis
from spikingjelly.activation_based import neuron
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.contracts.energy import Operations, SpikeRate, SynapticLayer
from zoo.contracts.neuron import Neuron
from zoo.contracts.price import DECODER_PRICES, ENCODER_PRICES, INTEGRATION, NEURON_PRICES, Price, Work
from zoo.contracts.sizes import DEFAULT_IMAGE_SIZE
from zoo.errors import InputError
from zoo.families.thresholds import QuantisedReLU, SpikingActivation
from zoo.kernels.functions import only_definitions

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
NEURONS = (Neuron, neuron.BaseNode)
"""Layers of neurons: the zoo's contract, and spikingjelly's own nodes."""

Branch = Literal["analog", "spiking"]


def branch_of(name: str, model: ImageClassifier) -> Branch:
    """Return the branch in which a module or parameter of that name lies."""
    return "spiking" if f"{name}.".startswith(tuple(f"{each}." for each in model.spiking_module_names)) else "analog"


# Parameters and MACs --------------------------------------------------------------------------------------------------

_PRODUCTS = ("conv", "linear", "addmm", "mm", "matmul", "bmm", "einsum")


@dataclass(frozen=True)
class Cost:
    """Raw integers; `unsupported` lists the operations that fvcore left out, with their counts."""

    params: int
    image_size: int
    timesteps: int
    macs: int
    macs_analog: int
    macs_spiking: int
    macs_per_timestep: int
    unsupported: dict[str, int]


@final
@dataclass(frozen=True)
class Layer:
    """A module without children, an encoder, decoder or neuron, or another module with parameters or MACs of its own.

    MACs are fvcore's and, as outputs, those of one image in all timesteps; parameters are the module's own.
    """

    name: str
    kind: str
    branch: Branch
    params: int
    macs: int
    outputs: int


def blank_image(model: ImageClassifier, image_size: int) -> Tensor:
    """Return zeros (1, in_chans, image_size, image_size) of the model's type and device.

    Raises:
        InputError: the model is on the meta device.
    """
    weights = next(model.parameters())
    if weights.is_meta:
        raise InputError(f"{model.spec} is on the meta device, which cannot be traced; build it on 'cpu'")
    return torch.zeros(1, model.in_chans, image_size, image_size, dtype=weights.dtype, device=weights.device)


def count_macs(model: ImageClassifier, image_size: int) -> FlopCountAnalysis:
    """Count one image with fvcore; every module's mode is restored afterwards."""
    with model.evaluating():
        analysis = FlopCountAnalysis(model, blank_image(model, image_size))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
    return analysis


def count_products(analysis: FlopCountAnalysis) -> int:
    """Sum the MACs of convolutions, linear layers and products of matrices."""
    return sum(int(macs) for name, macs in analysis.by_operator().items() if name in _PRODUCTS)


def count_cost(
    model: ImageClassifier, image_size: int = DEFAULT_IMAGE_SIZE, analysis: FlopCountAnalysis | None = None
) -> Cost:
    """Count one image of `image_size` pixels a side, from `analysis` if that is there already.

    Raises:
        InputError: the model is on the meta device, or needs a larger image.
    """
    analysis = analysis or count_macs(model, image_size)
    by_module = analysis.by_module()
    total, spiking = int(by_module[""]), sum(int(by_module[name]) for name in model.spiking_module_names)
    return Cost(
        params=sum(p.numel() for p in model.parameters()),
        image_size=image_size,
        timesteps=model.timesteps,
        macs=total,
        macs_analog=total - spiking,
        macs_spiking=spiking,
        macs_per_timestep=round(total - spiking + spiking / model.timesteps),
        unsupported=dict(analysis.unsupported_ops()),
    )


def list_layers(model: ImageClassifier, macs: Mapping[str, int], outputs: Mapping[str, int]) -> tuple[Layer, ...]:
    """List every layer in the order of the network, from MACs and outputs by module name; they add up to its own."""
    layers: list[Layer] = []
    inside: str | None = None  # prefix of the parts of an encoder, decoder or neuron: a surrogate is not a layer
    for name, module in model.named_modules():
        prefix = f"{name}." if name else ""
        inner = [f"{prefix}{child}" for child, _ in module.named_children()]
        params = sum(p.numel() for p in module.parameters(recurse=False))
        own_macs = int(macs.get(name, 0) - sum(macs.get(child, 0) for child in inner))
        coder_or_neuron = isinstance(module, (Encoder, Decoder, *NEURONS))
        part = inside is not None and name.startswith(inside)
        if coder_or_neuron or (not inner and not part) or params or own_macs:
            kind, branch = type(module).__name__, branch_of(name, model)
            layers.append(Layer(name, kind, branch, params, own_macs, outputs.get(name, 0)))
        inside = prefix if coder_or_neuron else inside
    return tuple(layers)


# Prices of every operation outside convolutions and linear layers -----------------------------------------------------


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

_BY_OPERATOR = {getattr(torch.ops.aten, name): price for price, names in _OPERATORS.items() for name in names.split()}
_WINDOWED = (torch.ops.aten.max_pool2d_with_indices, torch.ops.aten.avg_pool2d)
"""Operators whose second argument is a window, (k,) or (k, k)."""

_WHOLE = (*LAYERS, *NORMS, *NEURONS, Encoder, Decoder, QuantisedReLU)
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


# Synaptic operations --------------------------------------------------------------------------------------------------


@final
@dataclass
class Synapses:
    """Work of one layer over all batches so far, exact; counts as in `SynapticLayer`.

    Attributes:
        branch: in the spiking one a spike may be worth another value than 1, which folds into the weights.
        unit: the value of a spike; None before the first one.
        binary: every input seen is 0 or the unit.
    """

    branch: Branch = "analog"
    dense: int = 0
    used: int = 0
    nonzero: int = 0
    outputs: int = 0
    lowest: float = math.inf
    highest: float = -math.inf
    unit: float | None = None
    binary: bool = True

    def add(self, layer: nn.Module, x: Tensor, output: Tensor) -> None:
        """Count one call of a convolution or linear layer, of any batch and number of timesteps."""
        weight, nonzero = cast(Tensor, layer.weight), int(x.count_nonzero())
        self.dense += output.numel() * weight[0].numel()
        self.used += nonzero * len(weight) if isinstance(layer, nn.Linear) else convolution_pairs(layer, x)
        self.nonzero += nonzero
        self.outputs += output.numel()
        if x.numel():
            self.lowest, self.highest = min(self.lowest, float(x.min())), max(self.highest, float(x.max()))
            if self.unit is None and self.highest > 0:
                self.unit = self.highest if self.branch == "spiking" else 1.0
            self.binary = self.binary and bool(((x == 0) | (x == self.unit)).all() if self.unit else not nonzero)

    def to_layer(self, name: str) -> SynapticLayer:
        """Return the counts under the layer's name: accumulates if all inputs were spikes, else MACs."""
        if self.binary:
            folded = "" if self.unit in (None, 1) else ", a constant of the layer that folds into the weights"
            reason = "every input is 0" if self.unit is None else f"every input is 0 or {self.unit:.3g}{folded}"
        elif self.branch == "analog":
            reason = "input is real: analog branch"
        else:
            reason = f"input has other values than 0 and 1, from {self.lowest:.3g} to {self.highest:.3g}"
        operation, counted = ("AC", self.used) if self.binary else ("MAC", self.dense)
        counts = (self.dense, self.used, counted, self.nonzero, self.outputs)
        return SynapticLayer(name, self.branch, operation, reason, *counts)


def convolution_pairs(layer: nn.Module, x: Tensor) -> int:
    """Count the pairs of a nonzero input (…, C, *space) and a weight; stride, padding, dilation and groups exact."""
    conv = cast(nn.Conv2d, layer)
    x = x.reshape(-1, *x.shape[-len(conv.kernel_size) - 1 :])
    nonzero = (x != 0).sum(0, keepdim=True).cpu().double()
    ones = torch.ones(conv.groups, *conv.weight.shape[1:], dtype=torch.float64)  # of one output in every group
    return int(conv._conv_forward(nonzero, ones, None).sum()) * (conv.out_channels // conv.groups)


# The recorder --------------------------------------------------------------------------------------------------------


@final
class Uncounted(NamedTuple):
    """An operation without a price, as torch names it, and the innermost module in which it ran, '' for the network."""

    module: str
    kind: str
    operation: str


@final
@dataclass(frozen=True)
class OperationCounts(Operations):
    """Work of a number of images; every timestep repeats neurons, the spiking branch, spikes in and out of coders.

    Attributes:
        elementwise: `other`, by part and price.
        uncounted: operations without a price, with numbers of calls.
    """

    elementwise: dict[Part, dict[Price, Work]]
    uncounted: dict[Uncounted, int]

    @property
    def spike_rate(self) -> float | None:
        """Spikes per neuron and timestep over all neuron layers; None without neurons."""
        layers = [layer for layer in self.rates if not layer.encoder]
        values = sum(layer.values for layer in layers)
        return sum(layer.spikes for layer in layers) / values if values else None

    @property
    def synaptic(self) -> Work:
        """Synaptic operations of all images."""
        counted = {kind: sum(s.counted for s in self.synapses if s.operation == kind) for kind in ("MAC", "AC")}
        return Work(counted["MAC"], counted["AC"])

    @property
    def total(self) -> Work:
        """All work."""
        return self.synaptic + self.other

    def work(self) -> dict[Part, Work]:
        """All work, by part."""
        elementwise = {part: sum(self.elementwise.get(part, {}).values(), Work()) for part in Part}
        return elementwise | {Part.SYNAPSES: self.synaptic}

    def to_json(self) -> dict[str, Any]:
        """Whole numbers over all images; rates are averages."""
        synaptic = self.synaptic
        return {
            "images": self.images,
            "spike_rate": self.spike_rate,
            "synaptic_macs": synaptic.macs,
            "synaptic_acs": synaptic.acs,
            "synapses": [asdict(layer) | {"counted_per_image": layer.counted / self.images} for layer in self.synapses],
            "rates": [asdict(layer) | {"rate": layer.rate} for layer in self.rates],
            "elementwise": [
                {"operation": price.operation, "part": str(part), **asdict(work), "reason": price.reason}
                for part, works in self.elementwise.items()
                for price, work in works.items()
            ],
            "not_counted": [each._asdict() | {"calls": calls} for each, calls in self.uncounted.items()],
        }


@final
class Recorder(TorchDispatchMode):
    """Counts the operations of one network; any number of forward passes inside `watching` add up.

    Attributes:
        outputs: values that each module has returned, by name.
    """

    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        self._model = model
        self._names = {module: name for name, module in model.named_modules()}
        self._whole = {module for module in self._names if isinstance(module, _WHOLE)}
        self._stack: list[nn.Module] = []  # modules that run now, the innermost last
        self._layer_output: Tensor | None = None  # of the last convolution or linear layer
        self._synapses: dict[str, Synapses] = {}
        self._rates: dict[str, SpikeRate] = {}
        self._work: dict[Part, dict[Price, Work]] = defaultdict(lambda: defaultdict(Work))
        self._repeated = Work()
        self._uncounted: Counter[Uncounted] = Counter()
        self.outputs: Counter[str] = Counter()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count every forward pass inside, in eval mode; no hook stays."""
        self._stack.clear()  # an exception leaves it as it was
        self._layer_output = None
        with ExitStack() as stack:
            for module in self._names:
                stack.callback(module.register_forward_pre_hook(self._enter).remove)
                stack.callback(module.register_forward_hook(self._leave, with_kwargs=True).remove)
            stack.enter_context(only_definitions())  # a compiled kernel is no operator of torch: it would not be seen
            stack.enter_context(self._model.evaluating())
            stack.enter_context(self)
            yield

    def counts(self, images: int) -> OperationCounts:
        """Return what was seen of so many images, in the order of the network."""
        names = list(self._names.values())
        return OperationCounts(
            images=images,
            synapses=tuple(self._synapses[name].to_layer(name) for name in names if name in self._synapses),
            rates=tuple(self._rates[name] for name in names if name in self._rates),
            other=sum((work for works in self._work.values() for work in works.values()), Work()),
            repeated=self._repeated,
            elementwise={part: dict(works) for part, works in self._work.items()},
            uncounted=dict(self._uncounted),
        )

    @property
    def _depth(self) -> int:
        """Number of running modules charged as a whole, without norms around others: timm's call their activation."""
        *outer, inner = self._stack
        return sum(each in self._whole and not isinstance(each, NORMS) for each in outer) + (inner in self._whole)

    # Modules ----------------------------------------------------------------------------------------------------------

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._stack.append(module)

    def _leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        y = _first_tensor((output,))
        if y is not None:
            self.outputs[self._names[module]] += y.numel()
        if module in self._whole:
            x = _first_tensor((*args, *kwargs.values()))
            assert x is not None
            assert y is not None
            self._charge(module, x, y)
        self._stack.pop()

    def _charge(self, module: nn.Module, x: Tensor, y: Tensor) -> None:
        name = self._names[module]
        if isinstance(module, LAYERS):
            self._synapses.setdefault(name, Synapses(branch_of(name, self._model))).add(module, x, y)
            self._layer_output = y
        elif self._depth == 1:  # else inside an encoder, decoder or neuron, which is charged as a whole
            if isinstance(module, (Encoder, *NEURONS)):
                seen = self._rates.get(name, SpikeRate(name, type(module).__name__, isinstance(module, Encoder), 0, 0))
                spikes = seen.spikes + int(y.count_nonzero())
                self._rates[name] = replace(seen, spikes=spikes, values=seen.values + y.numel())
            part, prices = prices_of(module, folded=x is self._layer_output)
            for price in prices:
                self._add(part, price, x.numel(), y.numel(), module)

    # Operators outside them -------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self._stack and not self._depth:
            self._see(func.overloadpacket, args, result)
        return result

    def _see(self, operator: Any, args: Any, result: Any) -> None:
        module = self._stack[-1]
        price = FOLDED_SCALE if isinstance(module, SpikingActivation) else _BY_OPERATOR.get(operator)
        if price is MOVE:
            return
        x, y = _first_tensor(args), _first_tensor((result,))
        if price is None or x is None or y is None:
            self._uncounted[Uncounted(self._names[module], type(module).__name__, str(operator))] += 1
            return
        window = prod(args[1]) ** (1 if len(args[1]) == 2 else 2) if operator in _WINDOWED else 0
        self._add(Part.REST, price, window * y.numel() if window else x.numel(), y.numel(), module)

    def _add(self, part: Part, price: Price, read: int, written: int, module: nn.Module) -> None:
        self._work[part][price] += price.read * read + price.written * written
        # T timesteps hold T times the values.
        inside = isinstance(module, NEURONS) or branch_of(self._names[module], self._model) == "spiking"
        if isinstance(module, Decoder) or (inside and not isinstance(module, Encoder)):
            self._repeated += price.read * read
        if isinstance(module, Encoder) or (inside and not isinstance(module, Decoder)):
            self._repeated += price.written * written


def _first_tensor(values: tuple[Any, ...]) -> Tensor | None:
    """Return the first tensor of these, or of the tuples among them."""
    for value in values:
        tensor = _first_tensor(tuple(value)) if isinstance(value, (tuple, list)) else value
        if isinstance(tensor, Tensor):
            return tensor
    return None
