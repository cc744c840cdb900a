"""The neurons as modules: spikingjelly's own nodes, made stateless between calls."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, final

from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor

from zoo.contracts.neuron import Neuron
from zoo.contracts.precision import at_least_float32
from zoo.contracts.price import INTEGRATION
from zoo.neurons.functional import if_spikes, lif_spikes, plif_spikes

ALPHA = 2.0


def _has_paper_settings(node: Any) -> bool:
    """Hard reset to 0, in the gradient too, arctan surrogate, input decayed where there is a leak."""
    return bool(
        node.v_reset == 0.0
        and not node.detach_reset
        and not node.store_v_seq
        and type(node.surrogate_function) is surrogate.ATan
        and node.surrogate_function.spiking
        and (type(node) is IFNeuron or node.decay_input)
    )


def _spikes_by_spikingjelly(node: Any, x: Tensor) -> Tensor:
    """spikingjelly's own multi-step forward, from rest, leaving no state but a recording that was asked for."""
    node.reset()
    spikes: Tensor = node.multi_step_forward(at_least_float32(x))
    recorded = node.v_seq
    node.reset()
    node.v_seq = recorded
    return spikes.to(x.dtype)


class StatelessNode(Neuron, neuron.BaseNode):
    """A spikingjelly node over (T, N, …) that starts from rest on every call.

    On the CPU, the paper's settings take the zoo's in-place path; anything else (a GPU, another reset or
    surrogate set on the node, a recorded voltage) is spikingjelly's own code.
    """

    api_version = 1

    def supported_step_mode(self) -> tuple[str, ...]:
        """Multi-step alone: without state between calls there are no single steps."""
        return ("m",)

    @abstractmethod
    def fast_spikes(self, x: Tensor) -> Tensor:
        """The in-place path of this node."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Spikes (T, N, …) in {0, 1} of input currents (T, N, …)."""
        if x.device.type in ("cpu", "meta") and _has_paper_settings(self):
            return self.fast_spikes(x)
        return _spikes_by_spikingjelly(self, x)


@final
class IFNeuron(StatelessNode, neuron.IFNode):
    """Integrate and fire, hard reset: the paper's neuron (eq. 22)."""

    prices = (INTEGRATION,)

    def __init__(self) -> None:
        neuron.IFNode.__init__(self, surrogate_function=surrogate.ATan(ALPHA), step_mode="m")

    def fast_spikes(self: Any, x: Tensor) -> Tensor:
        return if_spikes(x, self.v_threshold, self.surrogate_function.alpha)


@final
class LIFNeuron(StatelessNode, neuron.LIFNode):
    """Leaky integrate and fire, τ = 2, decayed input, hard reset."""

    def __init__(self) -> None:
        neuron.LIFNode.__init__(self, tau=2.0, surrogate_function=surrogate.ATan(ALPHA), step_mode="m")

    def fast_spikes(self: Any, x: Tensor) -> Tensor:
        return lif_spikes(x, self.tau, self.v_threshold, self.surrogate_function.alpha)


@final
class ParametricLIFNeuron(StatelessNode, neuron.ParametricLIFNode):
    """Leaky integrate and fire whose time constant is learned, a scalar for each layer, τ = 2 at first."""

    def __init__(self) -> None:
        neuron.ParametricLIFNode.__init__(self, init_tau=2.0, surrogate_function=surrogate.ATan(ALPHA), step_mode="m")

    def fast_spikes(self: Any, x: Tensor) -> Tensor:
        return plif_spikes(x, self.w, self.v_threshold, self.surrogate_function.alpha)
