"""The neurons as modules: spikingjelly's own nodes, made stateless between calls."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, cast, final

from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn

from zoo.contracts.neuron import Neuron
from zoo.contracts.precision import at_least_float32
from zoo.contracts.price import INTEGRATION
from zoo.errors import OptionError, check_flag, check_number, suggest
from zoo.neurons.functional import if_spikes, lif_spikes, plif_spikes
from zoo.neurons.integration import soft_reset_spikes, step, with_rate_gradient

GRADIENTS = ("surrogate", "rate")
ALPHA = 2.0
TAU = 2.0
_SETTINGS = frozenset({"v_threshold", "v_reset", "detach_reset", "alpha"})
"""Options that every neuron takes."""


def _settings(v_threshold: float, v_reset: float | None, detach_reset: bool, alpha: float) -> dict[str, Any]:
    """Checked arguments of a spikingjelly node; raises `OptionError` or `CompositionError`."""
    threshold = check_number("v_threshold", v_threshold, above=0)
    return {
        "v_threshold": threshold,
        "v_reset": None if v_reset is None else check_number("v_reset", v_reset, below=threshold),
        "detach_reset": check_flag("detach_reset", detach_reset),
        "surrogate_function": surrogate.ATan(check_number("alpha", alpha, above=0)),
        "step_mode": "m",
    }


def _surrogate(node: nn.Module) -> Any:
    """`node.surrogate_function`, in a tenth of the time."""
    return node._modules.get("surrogate_function")


def _has_paper_settings(node: Any) -> bool:
    """Hard reset to 0, in the gradient too, arctan surrogate, input decayed if there is a leak."""
    gradient = _surrogate(node)
    return bool(
        node.v_reset == 0.0
        and not node.detach_reset
        and not node.store_v_seq
        and type(gradient) is surrogate.ATan
        and gradient.spiking
        and (type(node) is IFNeuron or node.decay_input)
    )


class StatelessNode(Neuron, neuron.BaseNode):
    """A spikingjelly node over (T, N, …) that starts from rest on every call.

    The paper's settings run by `zoo.neurons.functional`; anything else (another reset or surrogate set on the node, a
    recorded voltage) by spikingjelly's own code.
    """

    api_version = 1

    def supported_step_mode(self) -> tuple[str, ...]:
        """Multi-step alone: without state between calls there are no single steps."""
        return ("m",)

    @abstractmethod
    def fast_spikes(self, x: Tensor) -> Tensor:
        """Spikes at the paper's settings, by `zoo.neurons.functional`."""

    def forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Spikes (T, N, …) in {0, 1} of input currents (T, N, …)."""
        if _has_paper_settings(self):
            return cast(Tensor, self.fast_spikes(x))
        self.reset()
        spikes: Tensor = self.multi_step_forward(at_least_float32(x))
        recorded = self.v_seq  # the only state that stays, if it was asked for
        self.reset()
        self.v_seq = recorded
        return spikes.to(x.dtype)


@final
class IFNeuron(StatelessNode, neuron.IFNode):
    """Integrate and fire, hard reset: the paper's neuron (eq. 22).

    Args:
        v_threshold: membrane potential θ at which it fires.
        v_reset: potential after a spike; None subtracts θ (soft reset).
        detach_reset: whether the reset is left out of the gradient.
        alpha: α of the arctan surrogate gradient; a larger one is narrower.
        v_init: initial potential as a share of θ; ½ makes rates round to the nearest. With soft reset alone.
        waits: take in all T currents before the first spike: see `zoo.neurons.integration`. With soft reset alone.
        gradient: `surrogate`, or `rate` for that of min(max(mean current, 0), θ) / θ in every timestep. The latter
            with soft reset alone.
    """

    options = _SETTINGS | {"v_init", "waits", "gradient"}
    prices = (INTEGRATION,)

    def __init__(
        self,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = False,
        alpha: float = ALPHA,
        v_init: float = 0.0,
        waits: bool = False,
        gradient: str = GRADIENTS[0],
    ) -> None:
        neuron.IFNode.__init__(self, **_settings(v_threshold, v_reset, detach_reset, alpha))
        self.v_init = check_number("v_init", v_init, below=1)
        self.waits = check_flag("waits", waits)
        if gradient not in GRADIENTS:
            raise OptionError(f"gradient={gradient!r} is not one{suggest(str(gradient), GRADIENTS)}")
        self.gradient = gradient
        if self._integrates and v_reset is not None:
            raise OptionError("v_init, waits and gradient='rate' are for a soft reset: add v_reset=None")

    @property
    def _integrates(self) -> bool:
        return self.v_init != 0 or self.waits or self.gradient == "rate"

    def forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Spikes (T, N, …) in {0, 1} of input currents (T, N, …)."""
        if self.v_reset is not None or not self._integrates:
            return super().forward(x, *args, **kwargs)
        by_rate = self.gradient == "rate"
        fire = step if by_rate else self.surrogate_function
        spikes = soft_reset_spikes(x, self.v_threshold, self.v_init * self.v_threshold, self.waits, fire)
        return with_rate_gradient(spikes, x, self.v_threshold) if by_rate else spikes

    def extra_repr(self) -> str:
        said = f", v_init={self.v_init:g}, waits={self.waits}, gradient={self.gradient}" if self._integrates else ""
        return f"{super().extra_repr()}{said}"

    def fast_spikes(self: Any, x: Tensor) -> Tensor:
        return if_spikes(x, self.v_threshold, _surrogate(self).alpha, in_place=self.in_place)


class LeakyNode(StatelessNode):
    """A node with a membrane time constant.

    Args:
        tau: membrane time constant τ in timesteps, above 1; its first value if it is learned.
        v_threshold, v_reset, detach_reset, alpha: as of `IFNeuron`.
    """

    options = _SETTINGS | {"tau"}

    def __init__(
        self,
        tau: float = TAU,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = False,
        alpha: float = ALPHA,
    ) -> None:
        self.set_up(check_number("tau", tau, above=1), _settings(v_threshold, v_reset, detach_reset, alpha))

    @abstractmethod
    def set_up(self, tau: float, settings: dict[str, Any]) -> None:
        """Call spikingjelly's constructor."""


@final
class LIFNeuron(LeakyNode, neuron.LIFNode):
    """Leaky integrate and fire, τ = 2, decayed input, hard reset."""

    def set_up(self, tau: float, settings: dict[str, Any]) -> None:
        neuron.LIFNode.__init__(self, tau=tau, **settings)

    def fast_spikes(self: Any, x: Tensor) -> Tensor:
        return lif_spikes(x, self.tau, self.v_threshold, _surrogate(self).alpha, in_place=self.in_place)


@final
class ParametricLIFNeuron(LeakyNode, neuron.ParametricLIFNode):
    """Leaky integrate and fire whose time constant is learned, a scalar for each layer, τ = 2 at first."""

    def set_up(self, tau: float, settings: dict[str, Any]) -> None:
        neuron.ParametricLIFNode.__init__(self, init_tau=tau, **settings)

    def fast_spikes(self: Any, x: Tensor) -> Tensor:
        return plif_spikes(x, self.w, self.v_threshold, _surrogate(self).alpha, in_place=self.in_place)
