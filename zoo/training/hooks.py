"""Hooks of a training: what finds the layer at fault, scales the gradients of encoders, and counts spikes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn

from zoo.contracts.encoder import Encoder
from zoo.profiling.counting import NEURONS


@final
@dataclass(frozen=True)
class Fault:
    """What was found.

    Attributes:
        text: the layer and what is wrong with it, for a message.
        certain: False where everything was finite, and the layer is only the one with the largest output.
    """

    text: str
    certain: bool = True


def find_fault(model: nn.Module, compute_loss: Callable[[], Tensor]) -> Fault:
    """The first layer whose output is not finite; else the first, going backward, whose gradient is not.

    The same batch runs once more, with a hook on every layer. Gradients of the parameters are overwritten.

    Args:
        model: the network.
        compute_loss: runs the batch through it.
    """
    model.zero_grad(set_to_none=True)
    watch = _Watch()
    with watch.hooked(model):
        loss = compute_loss()
        if watch.output is None:
            loss.backward()
    if watch.output is not None:
        return Fault(f"layer {watch.output}: its output is not finite")
    if watch.gradient is not None:
        return Fault(f"layer {watch.gradient}: the gradient of its output is not finite")
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            layer, _, own = name.rpartition(".")
            return Fault(f"layer {layer}: the gradient of its {own} is not finite")
    return Fault(f"layer {watch.largest_name}: its output, up to {watch.largest:.3g}, is the largest", certain=False)


@final
class _Watch:
    """What the hooks of one pass saw first."""

    def __init__(self) -> None:
        self.output: str | None = None
        self.gradient: str | None = None
        self.largest, self.largest_name = -1.0, ""

    @contextmanager
    def hooked(self, model: nn.Module) -> Iterator[None]:
        """Inside, every module without modules of its own is watched."""
        with ExitStack() as stack:
            for name, module in model.named_modules():
                if not list(module.children()):
                    stack.callback(module.register_forward_hook(self._watcher(name)).remove)
            yield

    def _watcher(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def see(module: nn.Module, args: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or not output.numel():
                return
            if self.output is None and not bool(output.isfinite().all()):
                self.output = name
            if float(largest := output.detach().abs().max()) > self.largest:
                self.largest, self.largest_name = float(largest), name
            if output.requires_grad:
                output.register_hook(lambda gradient: self._see_gradient(name, gradient))

        return see

    def _see_gradient(self, name: str, gradient: Tensor) -> None:
        if self.gradient is None and not bool(gradient.isfinite().all()):
            self.gradient = name


@contextmanager
def scaled_surrogates(model: nn.Module, scale: float) -> Iterator[None]:
    """Inside, ∂L/∂x of every encoder is `scale` times what the encoder says; its planes are what they are.

    Some surrogates of the paper multiply the gradient in every block (eq. 14–18).
    """

    def shrink(encoder: nn.Module, inner: Any, outer: Any) -> tuple[Tensor | None, ...]:
        return tuple(None if grad is None else grad * scale for grad in inner)

    with ExitStack() as stack:
        if scale != 1:
            for module in model.modules():
                if isinstance(module, Encoder):
                    stack.callback(module.register_full_backward_hook(shrink).remove)
        yield


@contextmanager
def layer_rates(model: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, every call of a neuron layer appends its spikes per neuron and timestep, a scalar with its gradient."""
    rates: list[Tensor] = []

    def keep(neuron: nn.Module, args: Any, spikes: Tensor) -> None:
        rates.append(spikes.float().mean())

    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, NEURONS):
                stack.callback(module.register_forward_hook(keep).remove)
        yield rates


@final
class SpikeMeter:
    """Spikes, and the values that could have been one, of all neurons of a network.

    They are counted in chosen steps alone: the others pay nothing.
    """

    def __init__(self, model: nn.Module) -> None:
        self._neurons = [module for module in model.modules() if isinstance(module, NEURONS)]
        self.spikes, self.values = 0, 0

    @property
    def rate(self) -> float | None:
        """Spikes per neuron and timestep; None where none was counted, as without neurons."""
        return self.spikes / self.values if self.values else None

    @contextmanager
    def counting(self, wanted: bool) -> Iterator[None]:
        """Inside, forward passes count, where it is wanted; what was counted before is forgotten then."""
        with ExitStack() as stack:
            if wanted:
                self.spikes, self.values = 0, 0
                for neuron in self._neurons:
                    stack.callback(neuron.register_forward_hook(self._see).remove)
            yield

    def _see(self, neuron: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            self.spikes += int(output.detach().count_nonzero())
            self.values += output.numel()
