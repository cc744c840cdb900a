"""Smooth stand-ins for bit planes: f_k(I) and f_k′(I), plane by plane (paper eq. 16–18, 14).

Every slope is summed over planes as it is made: nothing of size terms × planes × activations exists. The waves, their
slopes and `contract_slopes` are made of differentiable operations, so gradients can be taken again; `contract_angles`
is the same contraction, faster, for gradients that are taken once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple, final

import torch
from torch import Tensor

PLANES = 8
STEEPNESS = -10.0
"""α of eq. 16 and 17."""

Wave = Callable[[Tensor, int], Tensor]


@final
class AngleSlope(NamedTuple):
    """2^k f_k′ / factor as a function of θ = πI/2^k alone: of 2 cos θ, and of sin θ or else of 2 cos 4θ."""

    of: Callable[[Tensor, Tensor], Tensor]
    by_sine: bool
    factor: float


def plane_phase(intensity: Tensor, plane: int) -> Tensor:
    """θ = πI / 2^k, reduced to [−π, π] before the multiplication by π so that float32 stays exact."""
    turns = intensity * 2.0 ** -(plane + 1)
    return (turns - torch.round(turns)) * (2 * math.pi)


def sigmoid_wave(intensity: Tensor, plane: int) -> Tensor:
    """f_k(I) = σ(α sin(πI/2^k)), eq. 16. Shapes: any → the same."""
    return torch.sigmoid(STEEPNESS * torch.sin(plane_phase(intensity, plane)))


def sigmoid_slope(intensity: Tensor, plane: int) -> Tensor:
    """f_k′(I) = σ(u)(1 − σ(u)) · α(π/2^k) cos(πI/2^k), u = α sin(πI/2^k), eq. 16."""
    theta = plane_phase(intensity, plane)
    wrapped = torch.sigmoid(STEEPNESS * torch.sin(theta))
    return wrapped * (1 - wrapped) * torch.cos(theta) * (STEEPNESS * math.pi / 2**plane)


def tanh_wave(intensity: Tensor, plane: int) -> Tensor:
    """f_k(I) = ½(1 + tanh(α sin(πI/2^k))), eq. 17."""
    return 0.5 * (1 + torch.tanh(STEEPNESS * torch.sin(plane_phase(intensity, plane))))


def tanh_slope(intensity: Tensor, plane: int) -> Tensor:
    """f_k′(I) = ½ sech²(u) · α(π/2^k) cos(πI/2^k), u = α sin(πI/2^k), eq. 17."""
    theta = plane_phase(intensity, plane)
    wrapped = torch.tanh(STEEPNESS * torch.sin(theta))
    return (1 - wrapped * wrapped) * torch.cos(theta) * (0.5 * STEEPNESS * math.pi / 2**plane)


def fourier_wave(intensity: Tensor, plane: int) -> Tensor:
    """f_k(I) = ½ − (2/π) Σ_{n=1,3,5,7,9} sin(nπI/2^k)/n, eq. 18."""
    theta = plane_phase(intensity, plane)
    total = torch.sin(theta)
    for n in (3, 5, 7, 9):
        total = total + torch.sin(n * theta) / n
    return 0.5 - (2 / math.pi) * total


def fourier_slope(intensity: Tensor, plane: int) -> Tensor:
    """f_k′(I) = −(2/2^k) Σ_{n=1,3,5,7,9} cos(nπI/2^k), eq. 18.

    Five cosines of odd multiples are U₉(c)/2 with c = cos(πI/2^k), a polynomial in c (Chebyshev).
    """
    c = torch.cos(plane_phase(intensity, plane))
    u = c * c
    odd_cosines = c * ((((256 * u - 512) * u + 336) * u - 80) * u + 5)
    return odd_cosines * (-2.0 / 2**plane)


def order_scale(plane: int) -> float:
    """γ_k = k / 2^(7−k), eq. 14: 0, 1/64, 1/16, 3/16, 1/2, 5/4, 3, 7."""
    return plane / 2 ** (7 - plane)


def _even_bump(sine: Tensor, steepness: float) -> Tensor:
    """σ(u)(1 − σ(u)) at u = steepness · sin θ; it is even in u, and of −|u| nothing cancels."""
    small = torch.sigmoid(sine.abs().mul_(-abs(steepness)))
    return torch.addcmul(small, small, small, value=-1)


def _sigmoid_of_angle(twice: Tensor, sine: Tensor) -> Tensor:
    """2^k f_k′ / (½απ) of eq. 16 from 2 cos θ and sin θ."""
    return _even_bump(sine, STEEPNESS).mul_(twice)


def _tanh_of_angle(twice: Tensor, sine: Tensor) -> Tensor:
    """2^k f_k′ / (απ) of eq. 17 from 2 cos θ and sin θ: sech² u = 4 σ(2u)(1 − σ(2u))."""
    return _even_bump(sine, 2 * STEEPNESS).mul_(twice)


def _fourier_of_angle(twice: Tensor, quadruple: Tensor) -> Tensor:
    """−2^k f_k′ of eq. 18 from b = 2 cos θ and q = 2 cos 4θ.

    By Chebyshev, 2 Σ cos nθ over n = 1, 3, …, 9 is U₉(cos θ) = b (q² + q − 1).
    """
    return torch.addcmul(quadruple, quadruple, quadruple).sub_(1).mul_(twice)


OF_ANGLE: Mapping[Wave, AngleSlope] = {
    sigmoid_slope: AngleSlope(_sigmoid_of_angle, by_sine=True, factor=0.5 * STEEPNESS * math.pi),
    tanh_slope: AngleSlope(_tanh_of_angle, by_sine=True, factor=STEEPNESS * math.pi),
    fourier_slope: AngleSlope(_fourier_of_angle, by_sine=False, factor=-1.0),
}
"""What `contract_angles` takes in place of these slopes."""


def contract_angles(intensity: Tensor, grad: Tensor, slope: AngleSlope, scaled: bool) -> Tensor:
    """Σ_k γ_k · grad_k · f_k′(I) by recurrence, from the highest plane to the lowest; not differentiable.

    An angle doubles from a plane to the one below: with b = 2 cos θ, 2 cos 2θ = b² − 2 and sin 2θ = b sin θ; in
    float64, as seven doublings multiply an error by 4⁷.

    Args:
        intensity: I, any shape, float32.
        grad: (8, *intensity.shape), float32, the gradient that arrives at the planes.
        slope: of `OF_ANGLE`.
        scaled: with γ (eq. 14) or without.
    """
    theta = intensity.double().mul_(math.pi / 2 ** (PLANES - 1))
    b = torch.cos(theta).mul_(2)
    sine = theta.sin_() if slope.by_sine else None
    planes = range(1 if scaled else 0, PLANES)  # γ₀ is 0
    total, twice, others = torch.zeros_like(intensity), [], []
    for doubled in range(len(planes) if slope.by_sine else len(planes) + 2):
        if doubled and sine is not None:
            sine.mul_(b)
        if doubled:
            b.mul_(b).sub_(2)
        twice.append(b.float())
        if sine is not None:
            others.append(sine.float())
    for plane in planes:
        step = PLANES - 1 - plane
        factor = slope.factor * (order_scale(plane) if scaled else 1.0) / 2**plane
        other = others[step] if slope.by_sine else twice[step + 2]
        total.addcmul_(grad[plane], slope.of(twice[step], other), value=factor)
    return total


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
