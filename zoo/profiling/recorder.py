"""Count the operations that images cause.

A `Recorder` counts while images pass through: of convolutions and linear layers the pairs of a nonzero input and a
weight, and of a set bit of an input and a weight; of encoders, decoders and neurons the prices that they declare
(zoo/contracts/price.py); all else has a price in zoo/profiling/prices.py, and an operation without one is listed.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any, NamedTuple, cast, final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.contracts.energy import Operations, SpikeRate, SynapticLayer
from zoo.contracts.price import Price, Work
from zoo.cpu.functions import only_definitions
from zoo.families.thresholds import SpikingActivation
from zoo.families.unit_spikes import ScaledIdentity
from zoo.profiling.macs import Branch, branch_of
from zoo.profiling.prices import (
    BY_OPERATOR,
    FOLDED_SCALE,
    LAYERS,
    MOVE,
    NEURONS,
    NORMS,
    WHOLE,
    WINDOWED,
    Part,
    prices_of,
)

# Synaptic operations --------------------------------------------------------------------------------------------------


MOST_LEVELS = 255
_SET_BITS = torch.tensor([value.bit_count() for value in range(MOST_LEVELS + 1)])


@final
@dataclass
class Synapses:
    """Work of one layer over all batches so far, exact; counts as in `SynapticLayer`.

    Attributes:
        whole: every input seen is a whole number from 0 to 255, as spikes and levels are once thresholds are folded.
    """

    branch: Branch = "analog"
    dense: int = 0
    used: int = 0
    bits: int = 0
    nonzero: int = 0
    outputs: int = 0
    lowest: float = math.inf
    highest: float = -math.inf
    whole: bool = True

    def add(self, layer: nn.Module, x: Tensor, output: Tensor) -> None:
        """Count one call of a convolution or linear layer, of any batch and number of timesteps."""
        weight, nonzero = cast(Tensor, layer.weight), x != 0
        self.dense += output.numel() * weight[0].numel()
        used = count_pairs(layer, nonzero)
        self.used += used
        self.nonzero += int(nonzero.sum())
        self.outputs += output.numel()
        if not x.numel():
            return
        lowest, highest = float(x.min()), float(x.max())
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        self.whole = self.whole and lowest >= 0 and highest <= MOST_LEVELS and bool((x == x.round()).all())
        if self.whole:
            self.bits += used if highest <= 1 else count_pairs(layer, _SET_BITS.to(x.device)[x.long()])

    def to_layer(self, name: str) -> SynapticLayer:
        """Return the counts under the layer's name: accumulates if all inputs were spikes, else MACs."""
        spikes = self.whole and self.highest <= 1
        if spikes:
            reason = "every input is 0 or 1" if self.highest > 0 else "every input is 0"
        elif self.branch == "analog" and not self.whole:
            reason = "input is real: analog branch"
        else:
            reason = f"input has other values than 0 and 1, from {self.lowest:.3g} to {self.highest:.3g}"
        operation, counted = ("AC", self.used) if spikes else ("MAC", self.dense)
        counts = (self.dense, self.used, counted, self.nonzero, self.outputs)
        levels = int(max(1.0, self.highest)) if self.whole else None
        return SynapticLayer(name, self.branch, operation, reason, *counts, levels, self.bits if levels else None)


def count_pairs(layer: nn.Module, counts: Tensor) -> int:
    """Sum counts (…, C, *space), or (…, C), over all pairs of an input and a weight of a convolution or linear layer.

    Stride, padding, dilation and groups are exact.
    """
    if isinstance(layer, nn.Linear):
        return int(counts.sum()) * layer.out_features
    conv = cast(nn.Conv2d, layer)
    images = counts.reshape(-1, *counts.shape[-len(conv.kernel_size) - 1 :])
    summed = images.sum(0, keepdim=True).cpu().double()
    ones = torch.ones(conv.groups, *conv.weight.shape[1:], dtype=torch.float64)  # of one output in every group
    return int(conv._conv_forward(summed, ones, None).sum()) * (conv.out_channels // conv.groups)


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
            "not_counted": [operation._asdict() | {"calls": calls} for operation, calls in self.uncounted.items()],
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
        self._whole = {module for module in self._names if isinstance(module, WHOLE)}
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
        return sum(module in self._whole and not isinstance(module, NORMS) for module in outer) + (inner in self._whole)

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
        price = FOLDED_SCALE if isinstance(module, (SpikingActivation, ScaledIdentity)) else BY_OPERATOR.get(operator)
        if price is MOVE:
            return
        x, y = _first_tensor(args), _first_tensor((result,))
        if price is None or x is None or y is None:
            self._uncounted[Uncounted(self._names[module], type(module).__name__, str(operator))] += 1
            return
        read = _window_size(args[1]) * y.numel() if operator in WINDOWED else x.numel()
        self._add(Part.REST, price, read, y.numel(), module)

    def _add(self, part: Part, price: Price, read: int, written: int, module: nn.Module) -> None:
        self._work[part][price] += price.read * read + price.written * written
        # T timesteps hold T times the values.
        inside = isinstance(module, NEURONS) or branch_of(self._names[module], self._model) == "spiking"
        if isinstance(module, Decoder) or (inside and not isinstance(module, Encoder)):
            self._repeated += price.read * read
        if isinstance(module, Encoder) or (inside and not isinstance(module, Decoder)):
            self._repeated += price.written * written


def _window_size(window: Sequence[int]) -> int:
    """Return the values of a pooling window, (k,) for a square or (k, l)."""
    return window[0] ** 2 if len(window) == 1 else prod(window)


def _first_tensor(values: tuple[Any, ...]) -> Tensor | None:
    """Return the first tensor of these, or of the tuples among them."""
    for value in values:
        tensor = _first_tensor(tuple(value)) if isinstance(value, (tuple, list)) else value
        if isinstance(tensor, Tensor):
            return tensor
    return None
