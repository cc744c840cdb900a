"""Operations of a network while images go through it: synaptic operations, spikes, and everything else by rule.

A recorder watches the modules and operations that run. Convolutions and linear layers are counted by the pairs of a
nonzero input and a weight; encoders, decoders and neurons declare their prices (zoo/contracts/price.py); the rest is
priced by the rules here, and an operation without a rule is listed.

spikingjelly's `SynOpCounter` and `DispatchCounterMode` count the same pairs if inputs are binary (tests compare them).
They do not serve here: they judge every call by itself, so that a layer of real values counts as spiking while these
happen to be 0 or 1; they leave out what meets real values, and skip operations without a rule.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from math import prod
from typing import Any, cast, final
from weakref import ref

import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.contracts.energy import SpikeRate, SynapticLayer
from zoo.contracts.neuron import Neuron
from zoo.contracts.price import DECODER_PRICES, ENCODER_PRICES, INTEGRATION, NEURON_PRICES, NOTHING, Price, Work
from zoo.families.thresholds import QuantisedReLU, SpikingActivation
from zoo.kernels.functions import only_definitions
from zoo.profiling.counting import NEURONS, Branch, branch_of

# Rules: the price of every operation outside convolutions and linear layers ------------------------------------------


class Part(StrEnum):
    """The parts of a cost that a report tells apart."""

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
        part: the part of the cost that it belongs to.
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
        """Return the work of these numbers of values."""
        return self.read * read + self.written * written


def charged(prices: Iterable[Price], part: Part) -> tuple[Rule, ...]:
    """Turn prices into the rules of a part of the cost."""
    return tuple(Rule(price.operation, part, price.read, price.written, price.reason) for price in prices)


_NONE, _MAC, _AC = NOTHING, Work(macs=1), Work(acs=1)

FOLDED_NORM = Rule(
    "batch norm behind a layer",
    Part.REST,
    _NONE,
    _NONE,
    "folded at inference into the weights, and into the bias, where an accumulator starts",
)
FOLDED_SCALE = Rule(
    "threshold of a spiking activation",
    Part.REST,
    _NONE,
    _NONE,
    "a constant of the layer, folded at inference into the weights before and behind",
)
QUANTISED = Rule("quantised ReLU", Part.REST, Work(acs=2), _NONE, "two comparisons; its scale folds into the weights")
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
    *(FOLDED_NORM, FOLDED_SCALE, QUANTISED, NORM, ADDITION, PRODUCT, MAXIMUM, MEAN, SUM, RELU, LEAKY_RELU, MOVE),
)
"""All that does not depend on which components are installed: the defaults of those that declare no price, the rest."""

# Modules that are charged as a whole, whatever they compute inside

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
WHOLE = (*LAYERS, *NORMS, *NEURONS, Encoder, Decoder, QuantisedReLU)


def rules_of(module: nn.Module, folded: bool) -> tuple[Rule, ...]:
    """Return the rules of one of `WHOLE`, beside its synapses; `folded`: its input is a layer's output."""
    if isinstance(module, (Encoder, Decoder)):
        return charged(module.prices, Part.CODING)
    if isinstance(module, Neuron):
        return charged(module.prices, Part.NEURONS)
    if isinstance(module, neuron.BaseNode):
        # spikingjelly's own declare nothing. A subclass may do more than integrate; what IFNode itself does is known.
        return charged((INTEGRATION,) if isinstance(module, neuron.IFNode) else NEURON_PRICES, Part.NEURONS)
    if isinstance(module, QuantisedReLU):
        return (QUANTISED,)
    if isinstance(module, NORMS):
        return (FOLDED_NORM if folded else NORM,)
    return ()


# Operations outside these modules
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


# Synaptic operations -------------------------------------------------------------------------------------------------


WINDOWS = tuple(k * k for k in range(2, 9))
"""Values in a square pooling window; an average of spikes over one is a multiple of its reciprocal."""

_ROUNDING = 1e-5


@final
@dataclass
class Synapses:
    """The work of one layer over all batches so far; whole numbers, exact.

    Attributes:
        dense: multiply-accumulates with every weight, those with zeros and with padding too, as fvcore counts.
        used: pairs of a nonzero input and a weight, padding left out.
        nonzero: nonzero inputs.
        outputs: values returned.
        lowest: of the inputs seen.
        highest: of the inputs seen.
        scaled: spikes may be worth another value than 1, which folds into the weights.
        unit: what a spike is worth.
        binary: every input seen is 0 or the unit.
        whole: every input seen is 0, 1, 2, …
        windows: of `WINDOWS`, those n for which every input seen is a multiple of 1/n.
    """

    scaled: bool = False
    unit: float = 1.0
    dense: int = 0
    used: int = 0
    nonzero: int = 0
    outputs: int = 0
    lowest: float = math.inf
    highest: float = -math.inf
    binary: bool = True
    whole: bool = True
    windows: set[int] = field(default_factory=lambda: set(WINDOWS))

    def add(self, layer: nn.Module, x: Tensor, output: Tensor) -> None:
        """Count one call of a convolution or linear layer, of any batch and number of timesteps."""
        self.dense += output.numel() * (layer_weight(layer).numel() // _outputs(layer))
        self.used += linear_pairs(layer, x) if isinstance(layer, nn.Linear) else convolution_pairs(layer, x, output)
        self.nonzero += int(x.count_nonzero())
        self.outputs += output.numel()
        self._look_at(x)

    def _look_at(self, x: Tensor) -> None:
        if not x.numel():
            return
        self.lowest, self.highest = min(self.lowest, float(x.min())), max(self.highest, float(x.max()))
        if self.binary:
            if self.scaled and self.unit == 1 and self.highest > 0:
                self.unit = self.highest
            self.binary = bool(((x == 0) | (x == self.unit)).all())
        if self.binary or (not self.whole and not self.windows):
            return
        x = x.double()
        self.whole = self.whole and self.lowest >= 0 and bool((x == x.round()).all())
        self.windows = {n for n in self.windows if self.lowest >= 0 and _are_multiples(x * n)}

    @property
    def operation(self) -> str:
        """'AC' if all inputs were spikes, else 'MAC'."""
        return "AC" if self.binary else "MAC"

    @property
    def counted(self) -> int:
        """The charge: an accumulate for every pair, or every multiply-accumulate."""
        return self.used if self.binary else self.dense

    def reason(self, branch: str) -> str:
        """Say why accumulates are enough, or why not."""
        if self.binary and self.unit != 1:
            return f"every input is 0 or {self.unit:.3g}, a constant of the layer that folds into the weights"
        if self.binary:
            return "every input is 0 or 1" if self.highest else "every input is 0"
        if branch != "spiking":
            return f"input is real: {branch} branch"
        if self.whole:
            return f"input has other values than 0 and 1: sums of spikes up to {self.highest:g}"
        if self.windows:
            return f"input has other values than 0 and 1: average-pooled spikes, multiples of 1/{min(self.windows)}"
        return f"input is real: values from {self.lowest:.3g} to {self.highest:.3g}"


def _are_multiples(scaled: Tensor) -> bool:
    return bool(((scaled - scaled.round()).abs() <= _ROUNDING * scaled.abs().clamp(min=1)).all())


def layer_weight(layer: nn.Module) -> Tensor:
    """The weight of a convolution, (O, C/groups, *kernel), or of a linear layer, (O, C)."""
    return cast(Tensor, layer.weight)


def _outputs(layer: nn.Module) -> int:
    return int(layer_weight(layer).shape[0])


def linear_pairs(layer: nn.Module, x: Tensor) -> int:
    """Count nonzero inputs times outputs; x is (…, C)."""
    return int(x.count_nonzero()) * _outputs(layer)


def convolution_pairs(layer: nn.Module, x: Tensor, output: Tensor) -> int:
    """Count the pairs of a nonzero input and a weight; stride, padding, dilation and groups exact.

    Args:
        layer: Conv1d, Conv2d or Conv3d.
        x: (…, C, *space).
        output: (…, O, *space').

    An input meets the same number of weights in each of its O/groups outputs: along every axis, as many as there are
    kernel taps that reach it. The taps of the axes multiply.
    """
    conv = cast(nn.Conv2d, layer)
    axes = len(conv.kernel_size)
    x = x.reshape(-1, *x.shape[-axes - 1 :])
    left = _left_padding(conv)
    if conv.padding_mode != "zeros":
        x = functional.pad(x, _both_paddings(conv), mode=conv.padding_mode)  # copies of inputs, which weights meet too
        left = [0] * axes
    nonzero = (x != 0).sum((0, 1))
    for axis, out in enumerate(output.shape[-axes:]):
        taps = axis_taps(
            nonzero.shape[axis], out, conv.kernel_size[axis], conv.stride[axis], conv.dilation[axis], left[axis]
        )
        nonzero = nonzero * taps.to(x.device).reshape([-1 if i == axis else 1 for i in range(axes)])
    return int(nonzero.sum()) * (_outputs(conv) // conv.groups)


def axis_taps(size: int, out: int, kernel: int, stride: int, dilation: int, left: int) -> Tensor:
    """Count the kernel taps over each of `size` positions along an axis, (size,) int64; `left`: zeros padded before."""
    starts = torch.arange(out)[:, None] * stride - left
    positions = (starts + torch.arange(kernel) * dilation).flatten()
    inside = positions[(positions >= 0) & (positions < size)]
    return torch.bincount(inside, minlength=size)


def _left_padding(conv: nn.Conv2d) -> list[int]:
    return _both_paddings(conv)[::2][::-1]


def _both_paddings(conv: nn.Conv2d) -> list[int]:
    """Before and after, from the last axis to the first, as `functional.pad` takes them."""
    if conv.padding == "valid":
        return [0, 0] * len(conv.kernel_size)
    if conv.padding == "same":
        spans = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        return [side for span in reversed(spans) for side in (span // 2, span - span // 2)]
    return [side for p in reversed(cast("tuple[int, ...]", conv.padding)) for side in (p, p)]


# The recorder --------------------------------------------------------------------------------------------------------


@final
@dataclass
class Spikes:
    """Spikes of a neuron layer or an encoder, and the values that could have been one: neurons times timesteps."""

    spikes: int = 0
    values: int = 0

    @property
    def rate(self) -> float:
        """Spikes per neuron and timestep; 0 if nothing was seen."""
        return self.spikes / self.values if self.values else 0.0


@final
@dataclass(frozen=True, order=True)
class Uncounted:
    """An operation that no rule knows.

    Attributes:
        module: the innermost module in which it ran; '' for the network itself.
        kind: that module's class.
        operation: as torch names it, `aten.gelu`.
    """

    module: str
    kind: str
    operation: str


@final
class Recorder(TorchDispatchMode):
    """Counts one network; `watching` it, any number of forward passes add up.

    Attributes:
        synapses: by name of convolution or linear layer.
        spikes: by name of encoder or neuron.
        work: by rule.
        repeated: the part of it that every timestep repeats.
        outputs: values that each module has returned.
        uncounted: with numbers of calls.
    """

    def __init__(self, model: ImageClassifier) -> None:
        super().__init__()
        self._model = model
        self._names = {module: name for name, module in model.named_modules()}
        self._stack: list[nn.Module] = []
        self._whole = 0  # modules of the stack that are charged as a whole
        self._layer_outputs: dict[int, ref[Tensor]] = {}
        self.synapses: dict[str, Synapses] = {}
        self.spikes: dict[str, Spikes] = {}
        self.work: dict[Rule, Work] = {}
        self.repeated = Work()
        self.outputs: Counter[str] = Counter()
        self.uncounted: Counter[Uncounted] = Counter()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count every forward pass inside, in eval mode; no hook stays."""
        with ExitStack() as stack:
            for module in self._names:
                stack.callback(module.register_forward_pre_hook(self._enter).remove)
                stack.callback(module.register_forward_hook(self._leave, with_kwargs=True).remove)
            stack.callback(self._forget)
            stack.enter_context(only_definitions())  # a kernel is no operation of torch: pooling would not be seen
            stack.enter_context(self._model.evaluating())
            stack.enter_context(self)
            yield

    def _forget(self) -> None:
        self._stack.clear()
        self._layer_outputs.clear()
        self._whole = 0

    # Modules ----------------------------------------------------------------------------------------------------------

    def _enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._whole -= self._in_a_norm()
        self._stack.append(module)
        self._whole += isinstance(module, WHOLE)

    def _leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        name, y = self._names[module], _first_tensor((output,))
        self.outputs[name] += 0 if y is None else y.numel()
        if isinstance(module, WHOLE):
            x = _first_tensor((*args, *kwargs.values()))
            if x is None or y is None:
                self._list(module, "call without tensors")
            else:
                self._charge(name, module, x, y)
            self._whole -= 1
        self._stack.pop()
        self._whole += self._in_a_norm()

    def _in_a_norm(self) -> bool:
        """Tell whether the module called now belongs to a norm, such as timm's activations: it is charged by itself."""
        return bool(self._stack) and isinstance(self._stack[-1], NORMS)

    def _charge(self, name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        if isinstance(module, LAYERS):
            scaled = branch_of(name, self._model) == "spiking"
            self.synapses.setdefault(name, Synapses(scaled)).add(module, x, y)
            self._layer_outputs[id(y)] = ref(y)
            return
        if self._whole > 1:  # inside an encoder, decoder or neuron, which is charged as a whole
            return
        if isinstance(module, (Encoder, *NEURONS)):
            total = self.spikes.setdefault(name, Spikes())
            total.spikes += int(y.count_nonzero())
            total.values += y.numel()
        folded = isinstance(module, NORMS) and self._is_layer_output(x)
        reads, writes = self._timesteps_of(module)
        for rule in rules_of(module, folded):
            self._add(rule, x.numel(), y.numel(), reads, writes)

    def _timesteps_of(self, module: nn.Module) -> tuple[bool, bool]:
        """Tell whether a module's input, and its output, has T timesteps."""
        if isinstance(module, Encoder):
            return False, True
        if isinstance(module, Decoder):
            return True, False
        inside = isinstance(module, NEURONS) or branch_of(self._names[module], self._model) == "spiking"
        return inside, inside

    def _is_layer_output(self, x: Tensor) -> bool:
        reference = self._layer_outputs.get(id(x))
        return reference is not None and reference() is x

    # Operations outside them ------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self._stack and not self._whole:
            self._see(func.overloadpacket, args, result)
        return result

    def _see(self, operation: Any, args: Any, result: Any) -> None:
        rule = FOLDED_SCALE if isinstance(self._stack[-1], SpikingActivation) else OPERATIONS.get(operation)
        if rule is MOVE:
            return
        x, y = _first_tensor(args), _first_tensor((result,))
        if rule is None or x is None or y is None:
            self._list(self._stack[-1], str(operation))
            return
        window = prod(args[1]) ** (1 if len(args[1]) == 2 else 2) if operation in WINDOWED else 0
        self._add(rule, window * y.numel() if window else x.numel(), y.numel(), *self._timesteps_of(self._stack[-1]))

    def _list(self, module: nn.Module, operation: str) -> None:
        self.uncounted[Uncounted(self._names[module], type(module).__name__, operation)] += 1

    def _add(self, rule: Rule, read: int, written: int, reads_timesteps: bool, writes_timesteps: bool) -> None:
        self.work[rule] = self.work.get(rule, Work()) + rule.work(read, written)
        self.repeated += rule.work(read * reads_timesteps, written * writes_timesteps)


def _first_tensor(values: tuple[Any, ...]) -> Tensor | None:
    """The first tensor of these, or of the tuples among them."""
    for value in values:
        tensor = _first_tensor(tuple(value)) if isinstance(value, (tuple, list)) else value
        if isinstance(tensor, Tensor):
            return tensor
    return None


# What it has seen ----------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class OperationCounts:
    """The work of a number of images.

    Attributes:
        images: how many.
        synapses: every convolution and linear layer.
        rates: every encoder and neuron layer.
        elementwise: all other work, by rule.
        repeated: the part of it that every timestep repeats: neurons, the spiking branch, spikes in and out of coders.
        uncounted: operations without a rule, with numbers of calls.
    """

    images: int
    synapses: tuple[SynapticLayer, ...]
    rates: tuple[SpikeRate, ...]
    elementwise: dict[Rule, Work]
    repeated: Work
    uncounted: dict[Uncounted, int]

    @property
    def spike_rate(self) -> float | None:
        """Spikes per neuron and timestep over all neuron layers; None without neurons."""
        layers = [layer for layer in self.rates if not layer.encoder]
        values = sum(layer.values for layer in layers)
        return sum(layer.spikes for layer in layers) / values if values else None

    @property
    def other(self) -> Work:
        """All work outside convolutions and linear layers."""
        return sum(self.elementwise.values(), Work())

    @property
    def synaptic(self) -> Work:
        """Synaptic operations of all images."""
        counted = {kind: sum(s.counted for s in self.synapses if s.operation == kind) for kind in ("MAC", "AC")}
        return Work(counted["MAC"], counted["AC"])

    def work(self) -> dict[Part, Work]:
        """All work, by part."""
        parts = {part: Work() for part in Part}
        parts[Part.SYNAPSES] = self.synaptic
        for rule, work in self.elementwise.items():
            parts[rule.part] += work
        return parts

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
                {"operation": rule.operation, "part": str(rule.part), **asdict(work), "reason": rule.reason}
                for rule, work in self.elementwise.items()
            ],
            "not_counted": [asdict(work) | {"calls": calls} for work, calls in self.uncounted.items()],
        }


def count_operations(model: ImageClassifier, recorder: Recorder, images: int) -> OperationCounts:
    """Turn what a recorder has seen of so many images into counts, in the order of the network."""
    modules = dict(model.named_modules())
    synapses = (_synaptic_layer(name, branch_of(name, model), synapses) for name, synapses in recorder.synapses.items())
    rates = (
        SpikeRate(name, type(modules[name]).__name__, isinstance(modules[name], Encoder), s.spikes, s.values)
        for name, s in recorder.spikes.items()
    )
    order = {name: place for place, name in enumerate(modules)}
    return OperationCounts(
        images,
        tuple(sorted(synapses, key=lambda layer: order[layer.name])),
        tuple(sorted(rates, key=lambda layer: order[layer.name])),
        dict(recorder.work),
        recorder.repeated,
        dict(recorder.uncounted),
    )


def _synaptic_layer(name: str, branch: Branch, synapses: Synapses) -> SynapticLayer:
    counts = (synapses.dense, synapses.used, synapses.counted, synapses.nonzero, synapses.outputs)
    return SynapticLayer(name, branch, synapses.operation, synapses.reason(branch), *counts)
