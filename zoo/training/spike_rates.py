"""How often neurons spike, counted in chosen steps alone: the others pay nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, final

from torch import Tensor, nn

from zoo.profiling.rules import NEURONS


@final
class SpikeMeter:
    """Spikes, and the values that could have been one, of all neurons of a network."""

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
