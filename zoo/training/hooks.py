"""Hooks of a training: they name the layer at fault, and scale the gradients of encoders."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from zoo.contracts.encoder import Encoder
from zoo.profiling.rates import watching


def find_fault(model: nn.Module, losses: Iterable[Tensor]) -> str:
    """Name the first layer whose output is not finite, or the first whose gradient is not; else that of largest output.

    `losses` are computed one after another by running batches through the network again; gradients are overwritten.
    """
    faults: list[str] = []  # in the order in which they come
    outputs: list[tuple[float, str]] = []  # the largest value of each

    def see_output(name: str, output: Any) -> None:
        if not isinstance(output, Tensor) or not output.numel():
            return
        largest = float(output.detach().abs().max())
        outputs.append((largest, name))
        if not math.isfinite(largest):
            faults.append(f"layer {name}: its output is not finite")
        if output.requires_grad:
            output.register_hook(partial(see_gradient, name))

    def see_gradient(name: str, gradient: Tensor) -> None:
        if not gradient.isfinite().all():
            faults.append(f"layer {name}: the gradient of its output is not finite")

    leaves = {name: module for name, module in model.named_modules() if not list(module.children())}
    with watching(leaves, see_output):
        for loss in losses:
            model.zero_grad(set_to_none=True)
            loss.backward()
    if faults:
        return faults[0]
    largest, layer = max(outputs)
    return f"layer {layer}: its output, up to {largest:.3g}, is the largest"


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
