"""Slopes f_k′(I) of the smooth waves that stand for bit planes in the backward pass (paper eq. 16–18, 14).

Every slope is summed over planes as it is made: nothing of size terms × planes × activations exists. All of it is made
of differentiable operations, so gradients can be taken again.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

PLANES = 8
STEEPNESS = -10.0
"""α of eq. 16 and 17."""

Wave = Callable[[Tensor, int], Tensor]


def plane_phase(intensity: Tensor, plane: int) -> Tensor:
    """θ = πI / 2^k, reduced to [−π, π] before the multiplication by π so that float32 stays exact."""
    turns = intensity * 2.0 ** -(plane + 1)
    return (turns - torch.round(turns)) * (2 * math.pi)


def sigmoid_slope(intensity: Tensor, plane: int) -> Tensor:
    """Slope of f_k(I) = σ(u), u = α sin(πI/2^k), eq. 16: σ(u)(1 − σ(u)) · α(π/2^k) cos(πI/2^k)."""
    theta = plane_phase(intensity, plane)
    wrapped = torch.sigmoid(STEEPNESS * torch.sin(theta))
    return wrapped * (1 - wrapped) * torch.cos(theta) * (STEEPNESS * math.pi / 2**plane)


def tanh_slope(intensity: Tensor, plane: int) -> Tensor:
    """Slope of f_k(I) = ½(1 + tanh u), u = α sin(πI/2^k), eq. 17: ½ sech²(u) · α(π/2^k) cos(πI/2^k)."""
    theta = plane_phase(intensity, plane)
    wrapped = torch.tanh(STEEPNESS * torch.sin(theta))
    return (1 - wrapped * wrapped) * torch.cos(theta) * (0.5 * STEEPNESS * math.pi / 2**plane)


def fourier_slope(intensity: Tensor, plane: int) -> Tensor:
    """Slope of f_k(I) = ½ − (2/π) Σ_{n=1,3,5,7,9} sin(nπI/2^k)/n, eq. 18: −(2/2^k) Σ_n cos(nπI/2^k).

    Five cosines of odd multiples are U₉(c)/2 with c = cos(πI/2^k), a polynomial in c (Chebyshev).
    """
    c = torch.cos(plane_phase(intensity, plane))
    u = c * c
    odd_cosines = c * ((((256 * u - 512) * u + 336) * u - 80) * u + 5)
    return odd_cosines * (-2.0 / 2**plane)


def order_scale(plane: int) -> float:
    """γ_k = k / 2^(7−k), eq. 14: 0, 1/64, 1/16, 3/16, 1/2, 5/4, 3, 7."""
    return plane / 2 ** (7 - plane)


def contract_slopes(intensity: Tensor, grad: Tensor, slope: Wave, scaled: bool) -> Tensor:
    """Σ_k γ_k · grad_k · f_k′(I), in one pass over the planes.

    Args:
        intensity: I, any shape, real (unrounded).
        grad: (8, *intensity.shape), the gradient that arrives at the planes.
        slope: one of the `*_slope` functions.
        scaled: with γ (eq. 14) or without.
    """
    total = torch.zeros_like(intensity)
    for plane in range(PLANES):
        scale = order_scale(plane) if scaled else 1.0
        if scale:
            total = total + grad[plane] * slope(intensity, plane) * scale
    return total
