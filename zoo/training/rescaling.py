"""The gradient that encoders hand back, scaled: some surrogates of the paper multiply it in every block (eq. 14–18)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from zoo.contracts.encoder import Encoder


@contextmanager
def scaled_surrogates(model: nn.Module, scale: float) -> Iterator[None]:
    """Inside, ∂L/∂x of every encoder is `scale` times what the encoder says; its planes are what they are."""

    def shrink(encoder: nn.Module, inner: Any, outer: Any) -> tuple[Tensor | None, ...]:
        return tuple(None if grad is None else grad * scale for grad in inner)

    with ExitStack() as stack:
        if scale != 1:
            for module in model.modules():
                if isinstance(module, Encoder):
                    stack.callback(module.register_full_backward_hook(shrink).remove)
        yield
