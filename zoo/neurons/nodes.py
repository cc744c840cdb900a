"""The neurons as modules: spikingjelly's own nodes, made stateless between calls."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, final

import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor

from zoo.contracts.modules import Neuron
from zoo.neurons.hard_reset import if_spikes, lif_spikes, plif_spikes

ALPHA = 2.0


class StatelessNode(Neuron, neuron.BaseNode):
    """A spikingjelly node over (T, N, …) that starts from rest on every call.

    On the CPU, hard reset to 0 with the arctan surrogate takes the zoo's in-place path; anything else
    (a GPU, another reset or surrogate set on the node, a recorded voltage) is spikingjelly's own code.
    """

    api_version = 1

    @abstractmethod
    def _fast(self, x: Tensor, alpha: float) -> Tensor:
        """The in-place path of this node."""

    @final
    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Spikes (T, N, …) in {0, 1} of input currents (T, N, …)."""
        if self._is_plain(x):
            return self._fast(x, self.surrogate_function.alpha)
        self.reset()
        spikes: Tensor = self.multi_step_forward(x)
        recorded = self.v_seq
        self.reset()
        self.v_seq = recorded
        return spikes

    def _is_plain(self, x: Tensor) -> bool:
        return (
            x.device.type in ("cpu", "meta")
            and self.v_reset == 0.0
            and not self.detach_reset
            and not self.store_v_seq
            and type(self.surrogate_function) is surrogate.ATan
            and self.surrogate_function.spiking
        )


@final
class IFNeuron(StatelessNode, neuron.IFNode):
    """Integrate and fire, hard reset: the paper's neuron (eq. 22)."""

    def __init__(self) -> None:
        neuron.IFNode.__init__(self, surrogate_function=surrogate.ATan(ALPHA), step_mode="m")

    def _fast(self, x: Tensor, alpha: float) -> Tensor:
        return if_spikes(x, self.v_threshold, alpha)


@final
class LIFNeuron(StatelessNode, neuron.LIFNode):
    """Leaky integrate and fire, τ = 2, decayed input, hard reset."""

    def __init__(self) -> None:
        neuron.LIFNode.__init__(self, tau=2.0, surrogate_function=surrogate.ATan(ALPHA), step_mode="m")

    def _is_plain(self, x: Tensor) -> bool:
        return super()._is_plain(x) and self.decay_input

    def _fast(self, x: Tensor, alpha: float) -> Tensor:
        return lif_spikes(x, self.tau, self.v_threshold, alpha)


@final
class ParametricLIFNeuron(StatelessNode, neuron.ParametricLIFNode):
    """Leaky integrate and fire whose time constant is learned, a scalar for each layer, τ = 2 at first."""

    def __init__(self) -> None:
        neuron.ParametricLIFNode.__init__(
            self, init_tau=2.0, surrogate_function=surrogate.ATan(ALPHA), step_mode="m"
        )

    def _is_plain(self, x: Tensor) -> bool:
        return super()._is_plain(x) and self.decay_input

    def _fast(self, x: Tensor, alpha: float) -> Tensor:
        w: torch.nn.Parameter = self.w
        return plif_spikes(x, w, self.v_threshold, alpha)
