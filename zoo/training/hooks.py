"""Hooks of a training: they name the layer at fault, and scale the gradients of encoders."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, final

from torch import Tensor, nn

from zoo.contracts.encoder import Encoder
from zoo.profiling.rates import watching


def find_fault(model: nn.Module, losses: Iterable[Tensor]) -> str:
    """Name the first layer whose output is not finite, or the first whose gradient is not; else that of largest output.

    `losses` are computed one after another by running batches through the network again; gradients are overwritten.
    """
    watch = _Watch()
    leaves = {name: module for name, module in model.named_modules() if not list(module.children())}
    with watching(leaves, watch.see_output):
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

    def see_output(self, name: str, output: Any) -> None:
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
