"""spikingjelly's nodes as neurons of the zoo: stateless between calls."""

from __future__ import annotations

from typing import Any

from spikingjelly.activation_based import neuron
from torch import Tensor

from zoo.contracts.neuron import Neuron
from zoo.cpu.functions import at_least_float32


class StatelessNode(Neuron, neuron.BaseNode):
    """A spikingjelly node over (T, N, …) that starts from rest on every call, by spikingjelly's own code.

    Example:
        >>> from spikingjelly.activation_based import neuron
        >>> class KLIF(StatelessNode, neuron.KLIFNode):
        ...     def __init__(self):
        ...         neuron.KLIFNode.__init__(self, step_mode="m")
    """

    api_version = 1

    def supported_step_mode(self) -> tuple[str, ...]:
        """Multi-step alone: without state between calls there are no single steps."""
        return ("m",)

    def forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Spikes (T, N, …) in {0, 1} of input currents (T, N, …)."""
        self.reset()
        spikes: Tensor = self.multi_step_forward(at_least_float32(x))
        recorded = self.v_seq  # the only state that stays, if it was asked for
        self.reset()
        self.v_seq = recorded
        return spikes.to(x.dtype)

    @property
    def streams(self) -> bool:
        return True

    def step(self: Any, x: Tensor, potential: Tensor | None) -> tuple[Tensor, Tensor]:
        self.reset()
        if potential is not None:
            self.v = potential
        spikes: Tensor = self.single_step_forward(at_least_float32(x))
        potential = self.v
        self.reset()
        return spikes.to(x.dtype), potential
