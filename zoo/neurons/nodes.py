"""The neurons as modules: spikingjelly's own nodes, made stateless between calls."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, cast, final

import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn

from zoo.contracts.neuron import Neuron
from zoo.contracts.price import INTEGRATION
from zoo.cpu.functions import at_least_float32, kernel_supports
from zoo.cpu.private import has_hooks, parts_of
from zoo.errors import OptionError, check_flag, check_number, suggest
from zoo.neurons.functional import Firing, if_spikes, lif_spikes, plif_spikes

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
    return parts_of(node).get("surrogate_function")


def _is_arctan(function: Any) -> bool:
    return type(function) is surrogate.ATan and bool(function.spiking)


class StatelessNode(Neuron, neuron.BaseNode):
    """A spikingjelly node over (T, N, …) that starts from rest on every call.

    Settings for which `is_fast` is true run by `fast_spikes`; anything else (another reset or surrogate set on the
    node, a recorded voltage) by spikingjelly's own code.
    """

    api_version = 1
    decay_input = True

    def supported_step_mode(self) -> tuple[str, ...]:
        """Multi-step alone: without state between calls there are no single steps."""
        return ("m",)

    def is_fast(self: Any) -> bool:
        """True at the paper's settings: hard reset to 0, in the gradient too, arctan surrogate, decayed input."""
        return bool(
            self.v_reset == 0.0
            and not self.detach_reset
            and not self.store_v_seq
            and _is_arctan(_surrogate(self))
            and self.decay_input
        )

    @abstractmethod
    def fast_spikes(self, x: Tensor) -> Tensor:
        """Spikes at settings for which `is_fast` is true."""

    def forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Spikes (T, N, …) in {0, 1} of input currents (T, N, …)."""
        if self.is_fast():
            return cast(Tensor, self.fast_spikes(x))
        self.reset()
        spikes: Tensor = self.multi_step_forward(at_least_float32(x))
        recorded = self.v_seq  # the only state that stays, if it was asked for
        self.reset()
        self.v_seq = recorded
        return spikes.to(x.dtype)

    @property
    def streams(self) -> bool:
        return True

    def rest(self: Any, x: Tensor) -> Tensor:
        """Potentials before the first current, of the shape of one timestep of currents."""
        return torch.full_like(x, self.v_reset or 0.0)

    def step(self: Any, x: Tensor, potential: Tensor | None) -> tuple[Tensor, Tensor]:
        currents = at_least_float32(x)
        self.v = self.rest(currents) if potential is None else potential
        spikes = self.single_step_forward(currents)
        potential = self.v
        self.reset()
        return spikes.to(x.dtype), potential


class DefinedNode(StatelessNode):
    """A node that `zoo.neurons.functional` defines, for hard reset to 0, soft reset and every surrogate."""

    v_init = 0.0
    waits = False
    gradient = GRADIENTS[0]

    @property
    def streams(self) -> bool:
        return not self.waits

    def rest(self: Any, x: Tensor) -> Tensor:
        return torch.full_like(x, self.v_init * self.v_threshold) if self.v_init else super().rest(x)

    @abstractmethod
    def spikes_of(self, x: Tensor, firing: Firing, scale: Tensor | None, in_place: bool) -> Tensor:
        """Spikes of currents, both (T, N, …); with a scale, scale · spikes of x / scale."""

    def is_fast(self: Any) -> bool:
        """True unless the potential is reset to another value than 0 or recorded, or the input not decayed."""
        return self.v_reset in (0.0, None) and not self.store_v_seq and self.decay_input

    def _firing(self: Any) -> Firing:
        function = _surrogate(self)
        is_arctan = _is_arctan(function)
        return Firing(
            threshold=self.v_threshold,
            alpha=function.alpha if is_arctan else ALPHA,
            v_init=self.v_init * self.v_threshold,
            soft=self.v_reset is None,
            detached=self.detach_reset,
            waits=self.waits,
            by_rate=self.gradient == "rate",
            theta=None if is_arctan else function,
        )

    def fast_spikes(self, x: Tensor) -> Tensor:
        return self.spikes_of(x, self._firing(), None, self.in_place)

    def scaled(self, x: Tensor, scale: Tensor) -> Tensor:
        if has_hooks(self) or not self.is_fast() or not kernel_supports(x):
            return super().scaled(x, scale)  # hooks see spikes that are 0 or 1
        return self.spikes_of(x, self._firing(), scale, self.in_place)


@final
class IFNeuron(DefinedNode, neuron.IFNode):
    """Integrate and fire, hard reset: the paper's neuron (eq. 22).

    Args:
        v_threshold: membrane potential θ at which it fires.
        v_reset: potential after a spike; None subtracts θ (soft reset).
        detach_reset: whether the reset is left out of the gradient.
        alpha: α of the arctan surrogate gradient; a larger one is narrower.
        v_init: initial potential as a share of θ; ½ makes rates round to the nearest. With soft reset alone.
        waits: take in all T currents before the first spike: see `zoo.neurons.functional`. With soft reset alone.
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

    def is_fast(self: Any) -> bool:
        """True for all that spikingjelly's node knows too, and for all that it doesn't."""
        return super().is_fast() or (self.v_reset is None and self._integrates)

    def extra_repr(self) -> str:
        said = f", v_init={self.v_init:g}, waits={self.waits}, gradient={self.gradient}" if self._integrates else ""
        return f"{super().extra_repr()}{said}"

    def spikes_of(self, x: Tensor, firing: Firing, scale: Tensor | None, in_place: bool) -> Tensor:
        return if_spikes(x, firing, scale=scale, in_place=in_place)


class LeakyNode(DefinedNode):
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

    def spikes_of(self: Any, x: Tensor, firing: Firing, scale: Tensor | None, in_place: bool) -> Tensor:
        return lif_spikes(x, self.tau, firing, scale=scale, in_place=in_place)


@final
class ParametricLIFNeuron(LeakyNode, neuron.ParametricLIFNode):
    """Leaky integrate and fire whose time constant is learned, a scalar for each layer, τ = 2 at first."""

    def set_up(self, tau: float, settings: dict[str, Any]) -> None:
        neuron.ParametricLIFNode.__init__(self, init_tau=tau, **settings)

    def spikes_of(self: Any, x: Tensor, firing: Firing, scale: Tensor | None, in_place: bool) -> Tensor:
        return plif_spikes(x, self.w, firing, scale=scale, in_place=in_place)
