"""Integrate-and-fire dynamics as functions of the whole input sequence (paper eq. 22, and its soft reset).

    v_{−1} = v_init;  h_t = charge(v_{t−1}, x_t);  s_t = Θ(h_t − θ);  v_t = reset(h_t, s_t)

Charges: IF h = v + x, LIF h = v + (x − v) / τ, PLIF h = v + (x − v) σ(w). Resets: hard v = h (1 − s), soft v = h − θ s.
Θ has the arctan surrogate, derivative (α/2) / (1 + (πα/2 · x)²) at x = h_t − θ. Membrane potentials are float32 at
least. Spikes are bit-equal to those of spikingjelly's own nodes on the CPU.

An IF neuron that waits takes in all T currents before it fires: v_{−1} = v_init + Σ_t x_t, h_t = v_{t−1}. With
v_init = θ/2 and soft reset it fires as often as a quantised ReLU of T levels says, min(max(⌊Σ_t x_t / θ + ½⌋, 0), T)
times, in whatever order its currents come; each layer then starts T timesteps after the one before it. That is how
integer activations run as spikes (arXiv:2407.20708). Without waiting a spike may be fired that a later, negative
current would have prevented.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, cast, final

import torch
from spikingjelly.activation_based import surrogate
from torch import Tensor

from zoo.cpu import functions
from zoo.cpu.functions import MOST_TIMESTEPS, at_least_float32, has_tangent, kernel_supports
from zoo.cpu.library import NeuronSettings

Charge = Callable[[Tensor, Tensor, Any], Tensor]
"""Potential and current, (N, …) each, and a gain → the potential before firing."""


@final
class _Step(surrogate.atan):
    """Θ with the arctan surrogate, under torch.func.vmap too."""

    generate_vmap_rule = True


@final
class Firing(NamedTuple):
    """When a neuron fires, and what a spike does to it.

    Attributes:
        threshold: θ.
        alpha: α, steepness of the arctan surrogate.
        v_init: initial potential.
        soft: subtract θ at a spike; else the potential becomes 0.
        detached: leave the reset out of the gradient.
        waits: take in all currents before the first timestep; for IF neurons.
        by_rate: in every timestep the gradient of the rate min(max(mean current, 0), θ) / θ, not the surrogate's.
        theta: another Θ than the arctan surrogate's, which no kernel computes.
    """

    threshold: float = 1.0
    alpha: float = 2.0
    v_init: float = 0.0
    soft: bool = False
    detached: bool = False
    waits: bool = False
    by_rate: bool = False
    theta: Callable[[Tensor], Tensor] | None = None

    def spike(self, over: Tensor) -> Tensor:
        """Θ of h − θ, 1 from 0 on."""
        if self.theta is not None:
            return self.theta(over)
        return cast(Tensor, _Step.apply(over, self.alpha))

    def reset(self, h: Tensor, spike: Tensor) -> Tensor:
        """Potential behind a spike."""
        spike = spike.detach() if self.detached else spike
        return h - self.threshold * spike if self.soft else h * (1 - spike)


def fired(x: Tensor, charge: Charge, gain: Tensor | float, firing: Firing) -> Tensor:
    """The definition, step by step, differentiable any number of times. (T, N, …) → (T, N, …)."""
    currents = at_least_float32(x)
    if not firing.by_rate:
        return _spike_train(currents, charge, gain, firing).to(x.dtype)
    spikes = _spike_train(currents.detach(), charge, gain, firing)
    mean = _sum(currents) / len(currents)
    rate = mean / firing.threshold
    inside = (rate >= 0) & (rate <= 1)  # bounds too: there torch's clamp has the gradient 1 in 2.13, 0 in 2.15
    rate = torch.where(inside, rate, rate.detach().clamp(0, 1).nan_to_num())
    return (spikes.detach() + (rate - rate.detach())).to(x.dtype)


def _sum(currents: Tensor) -> Tensor:
    """Σ_t x_t, added in the order of time, as the kernels add."""
    return cast(Tensor, sum(currents))


def _spike_train(currents: Tensor, charge: Charge, gain: Tensor | float, firing: Firing) -> Tensor:
    v = torch.full_like(currents[0], firing.v_init)
    if firing.waits:
        v = v + _sum(currents)
    spikes = []
    for current in currents:
        h = v if firing.waits else charge(v, current, gain)
        spike = firing.spike(h - firing.threshold)
        spikes.append(spike)
        v = firing.reset(h, spike)
    return torch.stack(spikes)


_settings = lru_cache(NeuronSettings)


def _kernel_takes(learned: Tensor | None) -> bool:
    return learned is None or (learned.dtype == torch.float32 and not has_tangent(learned))


def _value(number: Tensor | float | None) -> float:
    """The value of a gain or scale, 1 if there is none."""
    if number is None:
        return 1.0
    return float(number.detach()) if isinstance(number, Tensor) else number


def _fire(
    x: Tensor,
    kind: int,
    charge: Charge,
    gain: Tensor | float,
    firing: Firing,
    scale: Tensor | None,
    in_place: bool,
) -> Tensor:
    """Use the kernel if it supports the input. A gain that is a tensor is learned."""

    def definition(x: Tensor, learned: Tensor | None, scale: Tensor | None) -> Tensor:
        used = gain if learned is None else learned
        if scale is None:
            return fired(x, charge, used, firing)
        return fired(x / scale, charge, used, firing) * scale

    learned = gain if isinstance(gain, Tensor) else None
    if (
        firing.theta is None
        and x.shape[0] <= MOST_TIMESTEPS
        and _kernel_takes(learned)
        and _kernel_takes(scale)
        and kernel_supports(x)
    ):
        flags = firing.soft, firing.detached, firing.waits, firing.by_rate
        numbers = _value(gain), firing.threshold, firing.v_init, firing.alpha, _value(scale)
        return functions.fire(x, learned, scale, _settings(kind, *flags, *numbers), definition, in_place)
    return definition(x, learned, scale)


PAPER_FIRING = Firing()
"""The paper's neurons (eq. 22): θ = 1, hard reset, which the gradient takes in."""


def if_spikes(
    x: Tensor, firing: Firing = PAPER_FIRING, *, scale: Tensor | None = None, in_place: bool = False
) -> Tensor:
    """Integrate and fire: h_t = v_{t−1} + x_t, eq. 22.

    Args:
        x: (T, N, …), input currents.
        firing: θ, reset and gradient.
        scale: a scalar; with it the result is scale · spikes of x / scale.
        in_place: x may be overwritten if no gradient is recorded.

    Returns:
        (T, N, …) spikes in {0, 1}, x's dtype.
    """
    return _fire(x, functions.INTEGRATE, lambda v, current, _: v + current, 1, firing, scale, in_place)


def lif_spikes(
    x: Tensor, tau: float = 2.0, firing: Firing = PAPER_FIRING, *, scale: Tensor | None = None, in_place: bool = False
) -> Tensor:
    """Leaky integrate and fire: h_t = v_{t−1} + (x_t − v_{t−1}) / τ; other arguments and result as of `if_spikes`.

    `tau` is the membrane time constant in timesteps, over 1.
    """
    return _fire(x, functions.DIVIDE, lambda v, current, tau: v + (current - v) / tau, tau, firing, scale, in_place)


def plif_spikes(
    x: Tensor, w: Tensor, firing: Firing = PAPER_FIRING, *, scale: Tensor | None = None, in_place: bool = False
) -> Tensor:
    """Parametric LIF: h_t = v_{t−1} + (x_t − v_{t−1}) σ(w), w learned (doi:10.1109/ICCV48922.2021.00266).

    `w` is a scalar tensor; 1/σ(w) is the time constant. All else as of `if_spikes`.
    """
    gain = w.sigmoid()
    return _fire(
        x, functions.MULTIPLY, lambda v, current, gain: v + (current - v) * gain, gain, firing, scale, in_place
    )
