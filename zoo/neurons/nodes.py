"""Integrate-and-fire neurons: `if`, `lif` and `plif` (paper eq. 22, and its soft reset).

    v_{−1} = rest;  h_t = charge(v_{t−1}, x_t);  s_t = Θ(h_t − θ);  v_t = discharge(h_t, s_t)

Θ has the arctan surrogate, derivative (α/2) / (1 + (πα/2 · x)²) at x = h_t − θ. Potentials are float32 at least. On the
CPU spikes are bit-equal to those of spikingjelly's nodes.

An IF neuron that waits takes in all T currents before it fires: v_{−1} = rest + Σ_t x_t, h_t = v_{t−1}. With a rest of
θ/2 and soft reset it fires as often as a quantised ReLU of T levels says, min(max(⌊Σ_t x_t / θ + ½⌋, 0), T) times, in
whatever order its currents come; each layer then starts T timesteps after the one before it. That is how integer
activations run as spikes (arXiv:2407.20708). Without waiting a spike may be fired that a later, negative current would
have prevented.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import ClassVar, cast, final

import torch
from spikingjelly.activation_based import surrogate
from torch import Tensor, nn

from zoo.contracts.neuron import Neuron
from zoo.contracts.price import INTEGRATION
from zoo.cpu import functions
from zoo.cpu.functions import MOST_TIMESTEPS, at_least_float32, kernel_supports
from zoo.cpu.library import NeuronSettings
from zoo.cpu.private import has_hooks
from zoo.errors import OptionError, check_flag, check_number, suggest

GRADIENTS = ("surrogate", "rate")
ALPHA = 2.0
TAU = 2.0

_kernel_settings = lru_cache(NeuronSettings)


@final
class _Step(surrogate.atan):
    """Θ with the arctan surrogate, under torch.func.vmap too."""

    generate_vmap_rule = True


class IntegrateAndFire(Neuron):
    """A neuron that fires where its potential reaches a threshold; a subclass says how a current charges it.

    Args:
        v_threshold: membrane potential θ at which it fires.
        v_reset: potential after a spike; None subtracts θ (soft reset).
        detach_reset: whether the reset is left out of the gradient.
        alpha: α of the arctan surrogate gradient; a larger one is narrower.

    Attributes:
        surrogate_function: another Θ, a function of h − θ, which no kernel computes; None for the arctan surrogate's.
    """

    api_version = 1
    options = frozenset({"v_threshold", "v_reset", "detach_reset", "alpha"})
    charge_number: ClassVar[int]
    """Number of the charge in kernels.c."""
    v_init = 0.0
    gradient = GRADIENTS[0]

    def __init__(
        self,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = False,
        alpha: float = ALPHA,
    ) -> None:
        super().__init__()
        self.v_threshold = check_number("v_threshold", v_threshold, above=0)
        self.v_reset = None if v_reset is None else check_number("v_reset", v_reset, below=self.v_threshold)
        self.detach_reset = check_flag("detach_reset", detach_reset)
        self.alpha = check_number("alpha", alpha, above=0)
        self.surrogate_function: Callable[[Tensor], Tensor] | None = None

    @property
    def gain(self) -> Tensor | float:
        """The number by which a current charges the potential; a tensor if it is learned."""
        return 1.0

    @abstractmethod
    def charge(self, v: Tensor, x: Tensor, gain: Tensor | float) -> Tensor:
        """Return h, the potentials before firing, of potentials and currents (N, …)."""

    def rest(self, x: Tensor) -> Tensor:
        """Return the potentials before the first current, of the shape of one timestep of currents."""
        return torch.full_like(x, self.v_init * self.v_threshold or self.v_reset or 0.0)

    def spike(self, h: Tensor) -> Tensor:
        """Return Θ(h − θ): 1 from the threshold on, else 0."""
        if self.surrogate_function is not None:
            return self.surrogate_function(h - self.v_threshold)
        return cast(Tensor, _Step.apply(h - self.v_threshold, self.alpha))

    def discharge(self, h: Tensor, spike: Tensor) -> Tensor:
        """Return the potentials after firing."""
        spike = spike.detach() if self.detach_reset else spike
        if self.v_reset is None:
            return h - self.v_threshold * spike
        return h * (1 - spike) + self.v_reset * spike if self.v_reset else h * (1 - spike)

    @property
    def streams(self) -> bool:
        return not self.waits

    def step(self, x: Tensor, potential: Tensor | None) -> tuple[Tensor, Tensor]:
        currents = at_least_float32(x)
        h = self.charge(self.rest(currents) if potential is None else potential, currents, self.gain)
        spike = self.spike(h)
        return spike.to(x.dtype), self.discharge(h, spike)

    def forward(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return spikes (T, N, …) in {0, 1} of currents (T, N, …); with a scale, scale · spikes of x / scale."""
        gain = self.gain
        learned = gain if isinstance(gain, Tensor) else None
        arctan_to_zero = self.surrogate_function is None and not self.v_reset
        if not arctan_to_zero or len(x) > MOST_TIMESTEPS or not kernel_supports(x, learned, scale):
            return self.spike_train(x, learned, scale)
        settings = _kernel_settings(
            *(self.charge_number, self.v_reset is None, self.detach_reset, self.waits, self.gradient == "rate"),
            *(_value(gain), self.v_threshold, self.v_init * self.v_threshold, self.alpha, _value(scale)),
        )
        return functions.fire(x, learned, scale, settings, self.spike_train, self.in_place)

    def scaled(self, x: Tensor, scale: Tensor) -> Tensor:
        # Hooks see spikes that are 0 or 1.
        return super().scaled(x, scale) if has_hooks(self) else self.forward(x, scale)

    def spike_train(self, x: Tensor, gain: Tensor | None, scale: Tensor | None) -> Tensor:
        """Return the spike train by the definition, differentiable any number of times; arguments as of `forward`."""
        if scale is not None:
            return self.spike_train(x / scale, gain, None) * scale
        currents, gain_now = at_least_float32(x), self.gain if gain is None else gain
        if self.gradient != "rate":
            return self._fire_in_turn(currents, gain_now).to(x.dtype)
        mean = _sum(currents) / len(currents)
        rate = mean / self.v_threshold
        inside = (rate >= 0) & (rate <= 1)  # bounds too: there torch's clamp has the gradient 1 in 2.13, 0 in 2.15
        rate = torch.where(inside, rate, rate.detach().clamp(0, 1).nan_to_num())
        spikes = self._fire_in_turn(currents.detach(), gain_now).detach()
        return (spikes + (rate - rate.detach())).to(x.dtype)

    def _fire_in_turn(self, currents: Tensor, gain: Tensor | float) -> Tensor:
        v = self.rest(currents[0])
        if self.waits:
            v = v + _sum(currents)
        spikes = []
        for current in currents:
            h = v if self.waits else self.charge(v, current, gain)
            spikes.append(self.spike(h))
            v = self.discharge(h, spikes[-1])
        return torch.stack(spikes)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in vars(self).items() if name in self.options)


def _value(number: Tensor | float | None) -> float:
    """The value of a gain or scale, 1 if there is none."""
    if number is None:
        return 1.0
    return float(number.detach()) if isinstance(number, Tensor) else number


def _sum(currents: Tensor) -> Tensor:
    """Σ_t x_t, added in the order of time, as the kernels add."""
    return cast(Tensor, sum(currents))


@final
class IFNeuron(IntegrateAndFire):
    """Integrate and fire, h_t = v_{t−1} + x_t, with hard reset: the paper's neuron.

    Args:
        v_threshold, v_reset, detach_reset, alpha: as of `IntegrateAndFire`.
        v_init: initial potential as a share of θ; ½ makes rates round to the nearest. With soft reset alone.
        waits: take in all T currents before the first spike, as above. With soft reset alone.
        gradient: `surrogate`, or `rate` for that of min(max(mean current, 0), θ) / θ in every timestep. The latter
            with soft reset alone.
    """

    options = IntegrateAndFire.options | {"v_init", "waits", "gradient"}
    prices = (INTEGRATION,)
    charge_number = functions.INTEGRATE

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
        super().__init__(v_threshold, v_reset, detach_reset, alpha)
        self.v_init = check_number("v_init", v_init, below=1)
        self.waits = check_flag("waits", waits)
        if gradient not in GRADIENTS:
            raise OptionError(f"gradient={gradient!r} is not one{suggest(str(gradient), GRADIENTS)}")
        self.gradient = gradient
        if v_reset is not None and (v_init != 0 or waits or gradient == "rate"):
            raise OptionError("v_init, waits and gradient='rate' are for a soft reset: add v_reset=None")

    def charge(self, v: Tensor, x: Tensor, gain: Tensor | float) -> Tensor:
        return v + x


class LeakyIntegrateAndFire(IntegrateAndFire):
    """A neuron with a membrane time constant.

    Args:
        tau: membrane time constant τ in timesteps, above 1; its first value if it is learned.
        v_threshold, v_reset, detach_reset, alpha: as of `IntegrateAndFire`.
    """

    options = IntegrateAndFire.options | {"tau"}

    def __init__(
        self,
        tau: float = TAU,
        v_threshold: float = 1.0,
        v_reset: float | None = 0.0,
        detach_reset: bool = False,
        alpha: float = ALPHA,
    ) -> None:
        super().__init__(v_threshold, v_reset, detach_reset, alpha)
        self.set_tau(check_number("tau", tau, above=1))

    @abstractmethod
    def set_tau(self, tau: float) -> None:
        """Keep the time constant, or the parameter that it starts."""

    def over_reset(self, v: Tensor) -> Tensor:
        """Return how far a potential has to leak."""
        return v - self.v_reset if self.v_reset else v


@final
class LIFNeuron(LeakyIntegrateAndFire):
    """Leaky integrate and fire, h_t = v_{t−1} + (x_t − v_{t−1}) / τ, τ = 2, with hard reset."""

    charge_number = functions.DIVIDE

    def set_tau(self, tau: float) -> None:
        self.tau = tau

    @property
    def gain(self) -> float:
        return self.tau

    def charge(self, v: Tensor, x: Tensor, gain: Tensor | float) -> Tensor:
        return v + (x - self.over_reset(v)) / gain


@final
class ParametricLIFNeuron(LeakyIntegrateAndFire):
    """LIF whose time constant 1/σ(w) is learned, a scalar for each layer (doi:10.1109/ICCV48922.2021.00266).

    h_t = v_{t−1} + (x_t − v_{t−1}) σ(w), with hard reset; τ = 2 at first.
    """

    charge_number = functions.MULTIPLY

    def set_tau(self, tau: float) -> None:
        self.w = nn.Parameter(torch.tensor(-math.log(tau - 1)))

    @property
    def gain(self) -> Tensor:
        return self.w.sigmoid()

    def charge(self, v: Tensor, x: Tensor, gain: Tensor | float) -> Tensor:
        return v + (x - self.over_reset(v)) * gain
