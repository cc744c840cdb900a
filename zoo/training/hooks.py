"""Hooks of a training: they name the layer at fault, scale the gradients of encoders, and count spikes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, final

from torch import Tensor, nn

from zoo.contracts.encoder import Encoder
from zoo.families.thresholds import QuantisedReLU
from zoo.profiling.prices import NEURONS


def find_fault(model: nn.Module, losses: Iterable[Tensor]) -> str:
    """Name the first layer whose output is not finite, or the first whose gradient is not; else that of largest output.

    `losses` are computed one after another by running batches through the network again; gradients are overwritten.
    """
    watch = _Watch()
    with ExitStack() as stack:
        for name, module in model.named_modules():
            if not list(module.children()):
                stack.callback(module.register_forward_hook(partial(watch.see_output, name)).remove)
        for loss in losses:
            model.zero_grad(set_to_none=True)
            loss.backward()
    if watch.faults:
        return watch.faults[0]
    largest, layer = max(watch.outputs)
    return f"layer {layer}: its output, up to {largest:.3g}, is the largest"


@final
class _Watch:
    """What hooks see: faults in the order in which they come, and the largest value of each output."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.outputs: list[tuple[float, str]] = []

    def see_output(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or not output.numel():
            return
        largest = float(output.detach().abs().max())
        self.outputs.append((largest, name))
        if not math.isfinite(largest):
            self.faults.append(f"layer {name}: its output is not finite")
        if output.requires_grad:
            output.register_hook(partial(self.see_gradient, name))

    def see_gradient(self, name: str, gradient: Tensor) -> None:
        if not gradient.isfinite().all():
            self.faults.append(f"layer {name}: the gradient of its output is not finite")


@contextmanager
def scaled_surrogates(model: nn.Module, scale: float) -> Iterator[None]:
    """Multiply ∂L/∂x of every encoder by `scale`; the planes stay the same.

    Some surrogates of the paper multiply the gradient in every block (eq. 14–18).
    """

    def shrink(encoder: nn.Module, inner: Any, outer: Any) -> tuple[Tensor | None, ...]:
        return tuple(None if grad is None else grad * scale for grad in inner)

    with ExitStack() as stack:
        for module in model.modules() if scale != 1 else ():
            if isinstance(module, Encoder):
                stack.callback(module.register_full_backward_hook(shrink).remove)
        yield


Rates = list[tuple[Tensor, int]]
"""(spikes per neuron and timestep, number of values) of every call of a neuron layer; the rates have their gradient."""


@contextmanager
def spike_rates(model: nn.Module, wanted: bool) -> Iterator[Rates]:
    """Collect the rates; that of a quantised activation is of the neurons that it stands for, its mean over θ."""
    rates: Rates = []

    def keep(layer: nn.Module, args: Any, output: Tensor) -> None:
        scale = layer.scale if isinstance(layer, QuantisedReLU) else 1
        rates.append((output.float().mean() / scale, output.numel()))

    with ExitStack() as stack:
        for module in model.modules() if wanted else ():
            if isinstance(module, (*NEURONS, QuantisedReLU)):
                stack.callback(module.register_forward_hook(keep).remove)
        yield rates


def mean_rate(rates: Rates) -> float | None:
    """Spikes per neuron and timestep over all layers; None without neurons."""
    values = sum(count for _, count in rates)
    return sum(float(rate.detach()) * count for rate, count in rates) / values if values else None
