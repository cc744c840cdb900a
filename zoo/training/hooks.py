"""Where a loss or a gradient stops being a number: the same batch once more, with an eye on every layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor, nn


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

    Gradients of the parameters are overwritten.

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
