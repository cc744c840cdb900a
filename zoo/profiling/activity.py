"""What happens in a network while images go through it: synaptic operations, spikes, and everything else by rule.

spikingjelly's `DispatchCounterMode` sees the same operations, but tells a counter only the set of the modules that
are active, not the innermost, and skips what has no rule; here what has no rule is listed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, final
from weakref import ref

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.contracts.price import Work
from zoo.profiling.branches import branch_of
from zoo.profiling.rules import (
    LAYERS,
    MOVE,
    NEURONS,
    NORMS,
    OPERATIONS,
    WHOLE,
    WINDOWED,
    Rule,
    rules_of,
)
from zoo.profiling.synapses import Synapses


@final
@dataclass
class Spikes:
    """Spikes of a neuron layer or an encoder, and the values that could have been one: neurons times timesteps."""

    spikes: int = 0
    values: int = 0

    @property
    def rate(self) -> float:
        """Spikes per neuron and timestep; 0 where nothing was seen."""
        return self.spikes / self.values if self.values else 0.0


@final
@dataclass(frozen=True, order=True)
class Uncounted:
    """An operation that no rule knows.

    Attributes:
        module: name of the innermost module in which it ran; '' for the network itself.
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
        repeated: of it, what every timestep repeats.
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
        """Inside, the network is in eval mode, and every forward pass counts; nothing stays hooked."""
        with ExitStack() as stack:
            for module in self._names:
                stack.callback(module.register_forward_pre_hook(self._enter).remove)
                stack.callback(module.register_forward_hook(self._leave, with_kwargs=True).remove)
            stack.callback(self._forget)
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
        """Whether a module that is called now is a norm's own, such as timm's activations: charged by itself."""
        return bool(self._stack) and isinstance(self._stack[-1], NORMS)

    def _charge(self, name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        if isinstance(module, LAYERS):
            self.synapses.setdefault(name, Synapses()).add(module, x, y)
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
        """Whether what a module reads, and what it writes, has T timesteps."""
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
        rule = OPERATIONS.get(operation)
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
