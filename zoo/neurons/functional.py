"""Integrate-and-fire dynamics with hard reset, as functions of the whole input sequence (paper eq. 22).

    h_t = charge(v_{t−1}, x_t);  s_t = Θ(h_t − θ);  v_t = h_t (1 − s_t);  v_{−1} = 0

with the arctan surrogate of Θ, derivative (α/2) / (1 + (πα/2 · x)²) at x = h_t − θ. Charges: IF h = v + x, LIF
h = v + (x − v) / τ, PLIF h = v + (x − v) σ(w). The reset is not detached from the gradient. Membrane potentials are
float32 at least. Spikes are bit-equal to those of spikingjelly's own nodes on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast, final

import torch
from spikingjelly.activation_based import surrogate
from torch import Tensor

from zoo.contracts.precision import at_least_float32
from zoo.kernels import functions
from zoo.kernels.functions import MOST_TIMESTEPS, serves
from zoo.kernels.library import NeuronSettings

Charge = Callable[[Tensor, Tensor, Any], Tensor]
"""Potential and current, (N, …) each, and a gain → the potential before firing."""


_settings = lru_cache(NeuronSettings)


@final
class _Step(surrogate.atan):
    """Θ with the arctan surrogate, under torch.func.vmap too."""

    generate_vmap_rule = True


def fired(x: Tensor, charge: Charge, gain: Tensor | float, threshold: float, alpha: float) -> Tensor:
    """The definition, step by step, differentiable any number of times. (T, N, …) → (T, N, …)."""
    currents = at_least_float32(x)
    v, spikes = torch.zeros_like(currents[0]), []
    for current in currents:
        h = charge(v, current, gain)
        spike = cast(Tensor, _Step.apply(h - threshold, alpha))
        spikes.append(spike)
        v = h * (1 - spike)
    return torch.stack(spikes).to(x.dtype)


def _fire(
    x: Tensor, kind: int, charge: Charge, gain: Tensor | float, threshold: float, alpha: float, in_place: bool
) -> Tensor:
    """By the kernel of that kind where it serves; a gain that is a tensor is learned."""

    def definition(x: Tensor, gain: Tensor | float = gain) -> Tensor:
        return fired(x, charge, gain, threshold, alpha)

    learned = gain if isinstance(gain, Tensor) else None
    kept = learned is None or learned.dtype == torch.float32
    if kept and x.shape[0] <= MOST_TIMESTEPS and serves(x):
        value = gain if learned is None else float(learned.detach())
        return functions.fire(x, learned, _settings(kind, value, threshold, alpha), definition, in_place)
    return definition(x)


def if_spikes(x: Tensor, threshold: float = 1.0, alpha: float = 2.0, *, in_place: bool = False) -> Tensor:
    """Integrate and fire: h_t = v_{t−1} + x_t; s_t = Θ(h_t − θ); v_t = h_t (1 − s_t), eq. 22.

    Args:
        x: (T, N, …), input currents.
        threshold: θ.
        alpha: steepness of the arctan surrogate.
        in_place: x may be overwritten if no gradient is recorded.

    Returns:
        (T, N, …) spikes in {0, 1}, x's dtype.
    """
    return _fire(x, functions.INTEGRATE, lambda v, current, _: v + current, 1, threshold, alpha, in_place)


def lif_spikes(
    x: Tensor, tau: float = 2.0, threshold: float = 1.0, alpha: float = 2.0, *, in_place: bool = False
) -> Tensor:
    """Leaky integrate and fire: h_t = v_{t−1} + (x_t − v_{t−1}) / τ; s, v, arguments and result as of `if_spikes`.

    `tau` is the membrane time constant in timesteps, over 1.
    """
    return _fire(x, functions.DIVIDE, lambda v, current, tau: v + (current - v) / tau, tau, threshold, alpha, in_place)


def plif_spikes(x: Tensor, w: Tensor, threshold: float = 1.0, alpha: float = 2.0, *, in_place: bool = False) -> Tensor:
    """Parametric LIF: h_t = v_{t−1} + (x_t − v_{t−1}) σ(w), w learned (doi:10.1109/ICCV48922.2021.00266).

    `w` is a scalar tensor; 1/σ(w) is the time constant. All else as of `if_spikes`.
    """
    gain = w.sigmoid()
    return _fire(
        x, functions.MULTIPLY, lambda v, current, gain: v + (current - v) * gain, gain, threshold, alpha, in_place
    )
