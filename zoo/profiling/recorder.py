"""Count the operations that images cause, in any torch module.

A `Recorder` counts while images pass through: of convolutions, linear layers and products of two activations the pairs
that meet (zoo/profiling/synapses.py); of encoders, decoders and neurons the prices that they declare
(zoo/contracts/price.py); all else has a price in zoo/profiling/prices.py, and an operation without one is listed.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from math import prod
from statistics import mode
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.contracts.classifier import Branch, ImageClassifier
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.contracts.energy import Operations, SpikeRate
from zoo.contracts.price import Price, Work
from zoo.cpu.functions import only_definitions
from zoo.errors import CountingError
from zoo.families.thresholds import SpikingActivation
from zoo.families.unit_spikes import ScaledIdentity
from zoo.models.steps import LAYERS
from zoo.profiling.prices import (
    BY_OPERATOR,
    CHARGED_WHOLE,
    FOLDED_NORM,
    FOLDED_SCALE,
    MOVE,
    NEURONS,
    NORM,
    POOLING,
    Part,
    prices_of,
)
from zoo.profiling.synapses import (
    Fan,
    Product,
    Synapses,
    blocks,
    convolution,
    is_whole,
    linear_timesteps,
)


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
    def synaptic_spike_rate(self) -> float | None:
        """Additions that spikes cause over the MACs of the layers that take spikes in; None without such layers.

        A neuron counts here as often as it has synapses, so that additions are this rate times those MACs.
        """
        layers = [layer for layer in self.synapses if layer.operation == "AC"]
        dense = sum(layer.dense for layer in layers)
        return sum(layer.used for layer in layers) / dense if dense else None

    @property
    def synaptic(self) -> Work:
        """Synaptic operations of all images."""
        counted = {kind: sum(s.counted for s in self.synapses if s.operation == kind) for kind in ("MAC", "AC")}
        return Work(counted["MAC"], counted["AC"])

    @property
    def sparse_macs(self) -> int:
        """Multiply-accumulates whose input is not 0, and all outside synapses."""
        return sum(layer.used for layer in self.synapses if layer.operation == "MAC") + self.other.macs

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
            "synaptic_spike_rate": self.synaptic_spike_rate,
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


@dataclass(slots=True)
class _Call:
    """A module that runs now."""

    module: nn.Module
    shape: Sequence[int]  # of its first input
    fired: bool = False  # a layer of neurons was inside
    multiplied: bool = False  # a product was inside


_BUILT_IN = ("torch", "torchvision")
"""Packages whose modules are no neurons, whatever they return."""


@final
class _Kind(NamedTuple):
    """What is looked at whenever a module runs, looked up once."""

    name: str
    branch: Branch | None
    whole: bool
    encodes: bool
    fires: bool
    may_fire: bool  # as a look at its values decides

    @classmethod
    def of(cls, name: str, module: nn.Module, network: nn.Module) -> _Kind:
        zoos = isinstance(network, ImageClassifier)
        built_in = type(module).__module__.partition(".")[0] in _BUILT_IN
        return cls(
            name,
            branch=network.branch_of(name) if isinstance(network, ImageClassifier) else None,
            whole=isinstance(module, CHARGED_WHOLE),
            encodes=isinstance(module, Encoder),
            fires=isinstance(module, NEURONS),
            may_fire=not (zoos or built_in or module is network),
        )


@final
class Recorder(TorchDispatchMode):
    """Counts the operations of one network; any number of forward passes inside `watching` add up.

    Attributes:
        outputs: values that each module has returned, by name.
        timesteps: T, as often as most layers were called for an image.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Do without torch's compiler, which takes a second to import; compiled modules run eagerly while counted."""
        return False

    def __init__(self, model: nn.Module, timesteps: int = 1) -> None:
        super().__init__()
        self._model = model
        self._kinds = {module: _Kind.of(name, module, model) for name, module in model.named_modules()}
        self._weights = {_memory(p): name for name, p in model.named_parameters() if not p.is_meta}
        self._calls: list[_Call] = []  # the innermost last
        self._inside = 0  # modules charged as a whole that run now
        self._images = 1
        self._linear: Tensor | None = None  # what the last product returned, pooled or not: a batch norm folds into it
        self._synapses: dict[str, Synapses] = {}
        self._rates: dict[str, SpikeRate] = {}
        self._work: dict[Part, dict[Price, Work]] = defaultdict(lambda: defaultdict(Work))
        self._repeated = Work()
        self._uncounted: Counter[Uncounted] = Counter()
        self.outputs: Counter[str] = Counter()
        self.timesteps = model.timesteps if isinstance(model, ImageClassifier) else timesteps

    @contextmanager
    def watching(self, images: int = 1) -> Iterator[None]:
        """Count every forward pass inside, of so many images, in eval mode; no hook stays.

        Raises:
            CountingError: a value that a layer takes in is not finite; the error names the layer.
        """
        self._calls.clear()  # an exception leaves them as they were
        self._inside, self._images, self._linear = 0, images, None
        with ExitStack() as stack:
            for module in self._kinds:
                stack.callback(module.register_forward_pre_hook(self._enter, with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(self._leave, with_kwargs=True).remove)
            # A compiled kernel is no operator of torch, so that it would not be seen.
            stack.enter_context(only_definitions(unless=lambda: self._inside > 0))
            stack.enter_context(_nothing_fused(self._model))
            stack.enter_context(_evaluating(self._model))
            stack.enter_context(self)
            yield
        self._linear = None
        seen = {key: synapses.end_batch() for key, synapses in self._synapses.items()}
        spiking = [steps for key, steps in seen.items() if steps and self._synapses[key].values.are_spikes]
        self.timesteps = mode(spiking or [steps for steps in seen.values() if steps] or [1])

    @property
    def place(self) -> tuple[str, str]:
        """Name and kind of the innermost module that runs; of the one that raised, after an exception."""
        module = self._calls[-1].module if self._calls else self._model
        return self._kinds[module].name or "the network", type(module).__name__

    def counts(self, images: int) -> OperationCounts:
        """Return what was seen of so many images, in the order of the first calls."""
        return OperationCounts(
            images=images,
            synapses=tuple(synapses.to_layer(name) for name, synapses in self._synapses.items()),
            rates=tuple(self._rates.values()),
            other=sum((work for works in self._work.values() for work in works.values()), Work()),
            repeated=self._repeated,
            elementwise={part: dict(works) for part, works in self._work.items()},
            uncounted=dict(self._uncounted),
        )

    # Modules ----------------------------------------------------------------------------------------------------------

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = first_tensor((*args, *kwargs.values()))
        self._calls.append(_Call(module, () if x is None else x.shape))
        self._inside += self._kinds[module].whole

    def _leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        call, kind = self._calls.pop(), self._kinds[module]
        self._inside -= kind.whole
        x, y = first_tensor((*args, *kwargs.values())), first_tensor((output,))
        if x is not None and y is not None:
            self.outputs[kind.name] += y.numel()
            if not self._inside:  # else inside another one, which is charged as a whole
                self._inside = 1  # looking at values is no work of the network's
                self._charge(call, kind, x, y)
                self._inside = 0
        if self._calls:
            self._calls[-1].fired |= call.fired

    def _charge(self, call: _Call, kind: _Kind, x: Tensor, y: Tensor) -> None:
        """Count the spikes of a layer of neurons, and the prices of a module that is charged as a whole."""
        if self._has_fired(call, kind, x, y):
            call.fired = True
            self._add_rate(call.module, kind, y)
        if kind.whole:
            part, prices = prices_of(call.module)
            for price in prices:
                self._add(part, price, x.numel(), y.numel(), call.module)

    def _has_fired(self, call: _Call, kind: _Kind, x: Tensor, y: Tensor) -> bool:
        """Return whether a module turned values into spikes: a known kind, or one that does without a product."""
        if kind.encodes:
            return are_spikes(y)
        if kind.fires or not kind.may_fire or call.fired or call.multiplied:
            return kind.fires
        return x.is_floating_point() and are_spikes(y) and not is_whole(x)

    def _add_rate(self, module: nn.Module, kind: _Kind, y: Tensor) -> None:
        old = self._rates.get(kind.name)
        spikes, values = (old.spikes, old.values) if old else (0, 0)
        spikes += sum(int(block.bool().count_nonzero()) for block in blocks(y))
        self._rates[kind.name] = SpikeRate(kind.name, type(module).__name__, kind.encodes, spikes, values + y.numel())

    # Operators outside them -------------------------------------------------------------------------------------------

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if self._calls:
            inner = isinstance(self._calls[-1].module, LAYERS)
            if inner or not self._inside:
                self._see(func.overloadpacket, args, result, alone=inner)
        return result

    def _see(self, operator: Any, args: Any, result: Any, alone: bool) -> None:
        """Count an operator; `alone`: inside a layer, of which the product alone is work, the rest made once."""
        name = operator.__name__.removesuffix("_")
        module = self._calls[-1].module
        product = self._product(name, args, result)
        if product is not None:
            self._multiply(name, args, product)
            self._linear = result
            return
        if alone:
            return
        price = FOLDED_SCALE if isinstance(module, (SpikingActivation, ScaledIdentity)) else BY_OPERATOR.get(name)
        if price is MOVE:
            return
        x, y = first_tensor(args), first_tensor((result,))
        if "batch_norm" in name:
            price = FOLDED_NORM if self._folds(x) else NORM
        if price is None or x is None or y is None:
            self._uncounted[Uncounted(self._kinds[module].name, type(module).__name__, str(operator))] += 1
            return
        if name in POOLING and self._folds(x):
            self._linear = y
        read = _window_size(args[1], x.dim() - 2) * y.numel() if name in POOLING else x.numel()
        self._add(Part.REST, price, read, y.numel(), module)

    def _folds(self, x: Tensor | None) -> bool:
        """Return whether a batch norm of x folds into the product before; views of a tensor share its memory."""
        last = self._linear
        return x is not None and last is not None and _memory(x) == _memory(last)

    def _product(self, name: str, args: Any, result: Any) -> Product | None:
        """Read a call that multiplies; None for another operator."""
        if name == "convolution":
            return convolution(args, self._images, result)
        if name not in _MATRICES:
            return None
        one, other = args[_MATRICES[name] :][:2]
        if name in ("mv", "addmv", "dot"):
            one, other = one.reshape(-1, one.shape[-1]), other[:, None]
        call, steps = self._calls[-1], None
        if isinstance(call.module, nn.Linear):
            steps = linear_timesteps(call.shape, self._images, self.timesteps)
        elif self._weight_name(other):
            steps = 1 if len(one) == self._images else None
        elif self._weight_name(one):
            one, other = other, one.mT
        else:
            return Product(one, one.numel() * other.shape[-1], result.numel(), None, other)
        fan = Fan(other.shape[-1])
        return Product(one, one.numel() * fan.outputs, result.numel(), fan, timesteps=steps)

    def _weight_name(self, x: Tensor) -> str:
        """Return the name of a parameter, or of a part of one; '' for another tensor."""
        name, start = self._weights.get(_memory(x), ""), x.storage_offset()
        return f"{name}[{start}]" if name and start else name

    def _multiply(self, name: str, args: Any, product: Product) -> None:
        """Add a product to its layer; one outside a layer has the name of its weights, or its shape."""
        module = self._calls[-1].module
        for call in self._calls:
            call.multiplied = True
        kind = self._kinds[module]
        key = kind.name if isinstance(module, LAYERS) else self._name_outside(name, args, product, kind.name)
        try:
            self._synapses.setdefault(key, Synapses(kind.branch)).add(product)
        except CountingError as error:
            raise CountingError(f"{' ('.join(self.place)}) {error}") from None

    def _name_outside(self, name: str, args: Any, product: Product, module: str) -> str:
        factors = args[:2] if name == "convolution" else args[_MATRICES[name] :][:2]
        weights = "" if product.fan is None else self._weight_name(factors[1]) or self._weight_name(factors[0])
        sizes = "×".join(str(size) for size in (*factors[0].shape[-2:], factors[1].shape[-1]))
        return weights or f"{module}.{name} {sizes}".removeprefix(".")

    def _add(self, part: Part, price: Price, read: int, written: int, module: nn.Module) -> None:
        self._work[part][price] += price.read * read + price.written * written
        # T timesteps hold T times the values.
        inside = self._kinds[module].fires or self._kinds[module].branch != "analog"
        if isinstance(module, Decoder) or (inside and not isinstance(module, Encoder)):
            self._repeated += price.read * read
        if isinstance(module, Encoder) or (inside and not isinstance(module, Decoder)):
            self._repeated += price.written * written


_MATRICES = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "addmm": 1, "baddbmm": 1, "addmv": 1}
"""Operators that multiply matrices → which argument is the first."""


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Run in eval mode without gradients; every module's mode is restored."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def _nothing_fused(model: nn.Module) -> Iterator[None]:
    """Have torch run attention, recurrent layers and compiled functions as the operators that they are made of."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with ExitStack() as stack:
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            if "torch._dynamo" in sys.modules:  # else nothing is compiled
                stack.enter_context(torch.compiler.set_stance("force_eager"))
            if any(isinstance(module, nn.LSTM) for module in model.modules()):
                stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def are_spikes(y: Tensor) -> bool:
    """Return whether every value is −1, 0 or 1."""
    return bool(y.numel()) and y.dtype is not torch.bool and float(y.abs().max()) <= 1 and is_whole(y)


def _window_size(window: Sequence[int], dimensions: int) -> int:
    """Return the values of a pooling window, (k,) for all dimensions or one number for each."""
    return window[0] ** dimensions if len(window) == 1 else prod(window)


def _memory(x: Tensor) -> int:
    return x.untyped_storage().data_ptr()


def first_tensor(values: tuple[Any, ...]) -> Tensor | None:
    """Return the first tensor of these, or of the tuples among them."""
    for value in values:
        tensor = first_tensor(tuple(value)) if isinstance(value, (tuple, list)) else value
        if isinstance(tensor, Tensor):
            return tensor
    return None
