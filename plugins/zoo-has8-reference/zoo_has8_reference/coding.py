"""Encoders and decoder of the authors' published code (github.com/luutn2002/has-8), accidents included.

What differs from the zoo's own: the range step takes in the whole batch, the intensity is never rounded, the
Fourier gradient has a constant ½, and the decoder reads the planes in the other order.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, cast, final

import torch
from torch import Tensor

from zoo.contracts import Decoder, Encoder

PLANES = 8
LEVELS = 255
STEEPNESS = -10.0
"""α of eq. 16 and 17."""
TERMS = (1, 3, 5, 7, 9)
"""n of eq. 18."""
CODE = "published-planes"


def batch_range(x: Tensor) -> Tensor:
    """Min-max over the whole tensor where any value of it leaves [0, 1]; a constant one becomes all ones.

    The gradient flows through both bounds, and none through the ones. Written without a branch on the data, so
    that it also traces and runs on the meta device.

    Args:
        x: (N, C, …) real.

    Returns:
        The same shape, in [0, 1].
    """
    if x.numel() == 0:
        return x
    lo, hi = x.min(), x.max()
    constant = lo == hi
    span = torch.where(constant, torch.ones_like(hi), hi - lo)  # no 0 / 0, whose gradient would be NaN
    scaled = torch.where(constant, torch.ones_like(x), (x - lo) / span)
    return torch.where((lo >= 0) & (hi <= 1), x, scaled)


def unrounded_planes(intensity: Tensor) -> Tensor:
    """Plane k = ⌊I / 2^k⌋ mod 2, but plane 0 = I mod 2 keeps the fraction of I; no gradient.

    Args:
        intensity: (N, C, …) in [0, 255].

    Returns:
        (8, N, C, …), least significant first: plane 0 in [0, 2), the others in {0, 1}.
    """
    planes = []
    for _ in range(PLANES):
        planes.append(torch.remainder(intensity, 2))
        intensity = torch.floor(intensity / 2)
    return torch.stack(planes)


@final
class _PublishedPlanes(torch.autograd.Function):
    """Planes forward, Σ_k γ_k g_k f_k′(I) backward; saves I alone."""

    @staticmethod
    def forward(ctx: Any, intensity: Tensor, encoder: type[PublishedEncoder]) -> Tensor:
        ctx.save_for_backward(intensity)
        ctx.encoder = encoder
        return unrounded_planes(intensity)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (intensity,) = ctx.saved_tensors
        grad = grads[0]
        slopes = torch.stack([k * ctx.encoder.slope(intensity, k) / 2 ** (7 - k) for k in range(PLANES)])
        if intensity.dim() < 4:
            # The published backward views I as (8, 1, 1, 1, 1) × I, so planes and timesteps meet on axes of their own.
            return grad.sum(0) * slopes.sum(0), None
        return (grad * slopes).sum(0), None


class PublishedEncoder(Encoder):
    """Eight planes of 255·x, x brought into [0, 1] batch-wide, with a γ-scaled slope (eq. 14)."""

    api_version = 1
    code = CODE
    differentiable = True

    @property
    @final
    def timesteps(self) -> int:
        return PLANES

    @staticmethod
    @abstractmethod
    def slope(intensity: Tensor, plane: int) -> Tensor:
        """f_k′(I) before γ, any shape → the same."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, …) → (8, N, C, …). Planes depend on the whole batch, and plane 0 keeps fractions.

        Below four dimensions the gradient is (Σ_k g_k)(Σ_k γ_k f_k′) in place of Σ_k g_k γ_k f_k′, as published.
        """
        return cast(Tensor, _PublishedPlanes.apply(batch_range(x) * LEVELS, type(self)))


def _phase(intensity: Tensor, plane: int) -> Tensor:
    """πI / 2^k in the input's precision, not reduced."""
    return intensity * math.pi / 2**plane


@final
class SigmoidReferenceEncoder(PublishedEncoder):
    """Sigmoid-wrapped sine, eq. 16."""

    @staticmethod
    def slope(intensity: Tensor, plane: int) -> Tensor:
        theta = _phase(intensity, plane)
        wrapped = torch.sigmoid(STEEPNESS * torch.sin(theta))
        return wrapped * (1 - wrapped) * (STEEPNESS * math.pi / 2**plane * torch.cos(theta))


@final
class TanhReferenceEncoder(PublishedEncoder):
    """Tanh-wrapped sine, eq. 17."""

    @staticmethod
    def slope(intensity: Tensor, plane: int) -> Tensor:
        theta = _phase(intensity, plane)
        sech = 1 / torch.cosh(STEEPNESS * torch.sin(theta))
        return 0.5 * sech**2 * (STEEPNESS * math.pi / 2**plane * torch.cos(theta))


@final
class FourierReferenceEncoder(PublishedEncoder):
    """Five-term sine series with ½ − (2/2^k) Σ cos(nπI/2^k), where eq. 18 has −(2/2^k) Σ cos(nπI/2^k)."""

    @staticmethod
    def slope(intensity: Tensor, plane: int) -> Tensor:
        cosines = [torch.cos(intensity * math.pi * n / 2**plane) * (2 / 2**plane) for n in TERMS]
        return 0.5 - torch.stack(cosines).sum(0)


@final
class BitPlaneReferenceDecoder(Decoder):
    """Σ_k 2^(7−k) S_k / 255: 128 on the first plane, which these encoders make the least significant one."""

    api_version = 1
    codes = frozenset({CODE})
    timesteps = PLANES

    def forward(self, spikes: Tensor) -> Tensor:
        """(8, N, C, …) → (N, C, …)."""
        weights = torch.tensor([2.0**k for k in reversed(range(PLANES))], dtype=spikes.dtype, device=spikes.device)
        return (weights.reshape((PLANES,) + (1,) * (spikes.dim() - 1)) * spikes).sum(0) / LEVELS
