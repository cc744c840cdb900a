"""Integrate-and-fire neurons that stand for a quantised activation, as a definition that reads like the equation.

    v_{−1} = v_init;  h_t = v_{t−1} + x_t;  s_t = Θ(h_t − θ);  v_t = h_t − θ s_t  (soft reset)

A neuron that `waits` takes in all T currents before it fires: h_0 = v_init + Σ_t x_t, h_t = v_{t−1}. With v_init = θ/2
it fires as often as a quantised ReLU of T levels says, min(max(⌊Σ_t x_t / θ + ½⌋, 0), T) times, in whatever order its
currents come; each layer then starts T timesteps after the one before it. That is how integer activations run as spikes
(arXiv:2407.20708). Without waiting a spike may be fired that a later, negative current would have prevented.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from zoo.contracts.precision import at_least_float32

Fire = Callable[[Tensor], Tensor]
"""Θ of h − θ, with or without a surrogate gradient."""


def step(x: Tensor) -> Tensor:
    """Θ(x), 1 from 0 on, without a gradient."""
    return (x >= 0).to(x.dtype)


def soft_reset_spikes(x: Tensor, threshold: float, v_init: float, waits: bool, fire: Fire = step) -> Tensor:
    """Spikes (T, N, …) in {0, 1} of currents (T, N, …), with soft reset.

    Args:
        x: input currents.
        threshold: θ.
        v_init: initial potential.
        waits: take in all currents before the first spike.
        fire: Θ.
    """
    currents = at_least_float32(x)
    v = torch.full_like(currents[0], v_init)
    if waits:
        v = v + currents.sum(0)
    spikes = []
    for current in currents:
        h = v if waits else v + current
        spikes.append(fire(h - threshold))
        v = h - threshold * spikes[-1]
    return torch.cat(spikes).unflatten(0, x.shape[:2]).to(x.dtype)


def with_rate_gradient(spikes: Tensor, x: Tensor, threshold: float) -> Tensor:
    """The spikes, with the gradient of the rate min(max(mean current, 0), θ) / θ in every timestep.

    Args:
        spikes, x: (T, N, …).
        threshold: θ.
    """
    rate = (x.mean(0) / threshold).clamp(0, 1)
    return spikes.detach() + (rate - rate.detach())
