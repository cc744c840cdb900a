"""Hooks of a training: they name the layer at fault, scale the gradients of encoders, and count spikes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn

from zoo.contracts.encoder import Encoder
from zoo.families.thresholds import QuantisedReLU
from zoo.profiling.counting import NEURONS


@final
@dataclass(frozen=True)
class Fault:
    """A layer and its fault.

    Attributes:
        text: for a message.
        certain: False if all values were finite, and the layer is only the one with the largest output.
    """

    text: str
    certain: bool = True


def find_fault(model: nn.Module, compute_loss: Callable[[], Tensor]) -> Fault:
    """Find the first layer whose output is not finite; else the first, going backward, whose gradient is not.

    The batch is computed once more with a hook on every layer. Gradients of the parameters are overwritten.

    Args:
        model: the network.
        compute_loss: runs the batch through it.
    """
    output: list[str] = []
    gradient: list[str] = []
    largest, largest_name = -1.0, ""

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def see_gradient(grad: Tensor) -> None:
            if not bool(grad.isfinite().all()):
                gradient.append(name)

        def see(module: nn.Module, args: Any, value: Any) -> None:
            nonlocal largest, largest_name
            if not isinstance(value, Tensor) or not value.numel():
                return
            if not bool(value.isfinite().all()):
                output.append(name)
            if float(extreme := value.detach().abs().max()) > largest:
                largest, largest_name = float(extreme), name
            if value.requires_grad:
                value.register_hook(see_gradient)

        return see

    model.zero_grad(set_to_none=True)
    leaves = {name: module for name, module in model.named_modules() if not list(module.children())}
    with ExitStack() as stack:
        for name, module in leaves.items():
            stack.callback(module.register_forward_hook(watch(name)).remove)
        loss = compute_loss()
        if not output:
            loss.backward()
    if output:
        return Fault(f"layer {output[0]}: its output is not finite")
    if gradient:
        return Fault(f"layer {gradient[0]}: the gradient of its output is not finite")
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            layer, _, own = name.rpartition(".")
            return Fault(f"layer {layer}: the gradient of its {own} is not finite")
    return Fault(f"layer {largest_name}: its output, up to {largest:.3g}, is the largest", certain=False)


@contextmanager
def scaled_surrogates(model: nn.Module, scale: float) -> Iterator[None]:
    """Multiply ∂L/∂x of every encoder by `scale`; the planes stay the same.

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
def layer_rates(model: nn.Module, wanted: bool = True) -> Iterator[list[Tensor]]:
    """Collect the spikes per neuron and timestep of every neuron layer's calls, scalars with their gradients.

    For a quantised activation it is the rate of the neurons that it stands for, its mean over θ.
    """
    rates: list[Tensor] = []

    def keep(neuron: nn.Module, args: Any, spikes: Tensor) -> None:
        rates.append(spikes.float().mean())

    def keep_share(activation: QuantisedReLU, args: Any, y: Tensor) -> None:
        rates.append(y.float().mean() / activation.scale)

    with ExitStack() as stack:
        for module in model.modules() if wanted else ():
            if isinstance(module, NEURONS):
                stack.callback(module.register_forward_hook(keep).remove)
            elif isinstance(module, QuantisedReLU):
                stack.callback(module.register_forward_hook(keep_share).remove)
        yield rates


@contextmanager
def spike_counts(model: nn.Module, wanted: bool = True) -> Iterator[list[tuple[int, int]]]:
    """Collect (spikes, values that could have been one) of every neuron layer's calls."""
    counts: list[tuple[int, int]] = []

    def keep(neuron: nn.Module, args: Any, spikes: Tensor) -> None:
        counts.append((int(spikes.detach().count_nonzero()), spikes.numel()))

    with ExitStack() as stack:
        for module in model.modules() if wanted else ():
            if isinstance(module, NEURONS):
                stack.callback(module.register_forward_hook(keep).remove)
        yield counts
