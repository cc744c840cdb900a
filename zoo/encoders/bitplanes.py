"""Bit-plane encoders: an activation as its eight binary digits, least significant first (paper eq. 8).

All of them emit the same planes. They differ in the gradient that they hand back.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, cast, final

import torch
from torch import Tensor

from zoo.contracts.encoder import BINARY_LSB_FIRST, Encoder
from zoo.contracts.price import BINARY_DIGITS, RANGE_STEP
from zoo.cpu import functions
from zoo.cpu.functions import at_least_float32, kernel_supports
from zoo.encoders.surrogates import PLANES, Wave, contract_slopes, fourier_slope, sigmoid_slope, tanh_slope

LEVELS = 255
"""The largest intensity of an 8-bit pixel; I = 255·x̂."""

_SQUARED_WEIGHTS = sum(4**k for k in range(PLANES))

_WAVES: Mapping[Wave, int] = {
    sigmoid_slope: functions.SIGMOID,
    tanh_slope: functions.TANH,
    fourier_slope: functions.FOURIER,
}
"""Slopes that the kernels know."""


def unit_range(x: Tensor) -> Tensor:
    """x̂ = (x − lo) / (hi − lo) with lo = min(0, min x) and hi = max(1, max x), per sample.

    The identity, also for gradients, if a sample lies inside [0, 1]; continuous in x; gradient through lo and hi
    otherwise.

    Args:
        x: (N, …) real.

    Returns:
        x̂, the same shape, in [0, 1], float32 at least.
    """
    x = at_least_float32(x)
    if x.numel() == 0:
        return x
    rows, shape = x.reshape(x.shape[0], -1), (-1,) + (1,) * (x.dim() - 1)
    # `where`, not `clamp`: at a tie the bound is the constant and takes no gradient.
    least, largest = rows.amin(1), rows.amax(1)
    lo = torch.where(least < 0, least, torch.zeros_like(least)).reshape(shape)
    hi = torch.where(largest > 1, largest, torch.ones_like(largest)).reshape(shape)
    return (x - lo) / (hi - lo)


def bit_planes(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """B_k(I) = ⌊I / 2^k⌋ mod 2 of I = round(255·x), eq. 8; no gradient.

    Args:
        x: (N, C, …) in [0, 1].
        dtype: of the planes; x's by default. 0 and 1 are exact in each.

    Returns:
        (8, N, …) in {0, 1}, plane t is bit t.
    """
    levels = torch.round(at_least_float32(x) * LEVELS).to(torch.uint8)
    shifts = torch.arange(PLANES, dtype=torch.uint8, device=x.device)
    shifts = shifts.reshape((PLANES,) + (1,) * x.dim())
    return ((levels >> shifts) & 1).to(dtype or x.dtype)


@final
class _SurrogatePlanes(torch.autograd.Function):
    """Bit planes forward, Σ_k γ_k g_k f_k′(255·x) · 255 backward; saves x alone."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, dtype: torch.dtype, slope: Wave, scaled: bool) -> Tensor:
        return bit_planes(x, dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, torch.dtype, Wave, bool], output: Tensor) -> None:
        x, _, ctx.slope, ctx.scaled = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        intensity = x * LEVELS
        # In float32 slopes err by 5e-6 of the largest, which deep networks multiply. A GPU trains by them, and is slow
        # in float64.
        wide = intensity.double() if x.device.type == "cpu" else intensity
        slopes = contract_slopes(wide, grads[0].to(wide.dtype), ctx.slope, ctx.scaled)
        return (slopes * LEVELS).to(x.dtype), None, None, None


@final
class _StraightThroughPlanes(torch.autograd.Function):
    """Bit planes forward; backward the weights for which decoding after encoding has slope 1."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, dtype: torch.dtype) -> Tensor:
        return bit_planes(x, dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, torch.dtype], output: Tensor) -> None:
        """Save nothing: the slope is the same everywhere."""

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        wide = at_least_float32(grads[0])
        total = wide[0] * LEVELS
        for plane in range(1, PLANES):
            # 255 first: 255·(2^k/255) is 2^k exactly, so bpd's slope comes out as exactly 1.
            total = total + wide[plane] * LEVELS * 2**plane
        return total / _SQUARED_WEIGHTS, None


def surrogate_planes(x: Tensor, slope: Wave, *, scaled: bool) -> Tensor:
    """Bit planes with a smooth derivative: ∂S_k/∂x = 255 · γ_k · f_k′(255·x̂) · ∂x̂/∂x (eq. 14, 16–18).

    The slope is taken at the unrounded intensity.

    Args:
        x: (N, …) real, any range.
        slope: `sigmoid_slope`, `tanh_slope` or `fourier_slope`.
        scaled: with γ (eq. 14) or without.

    Returns:
        (8, N, …) in {0, 1}.
    """

    def definition(x: Tensor) -> Tensor:
        return cast(Tensor, _SurrogatePlanes.apply(unit_range(x), x.dtype, slope, scaled))

    if slope in _WAVES and kernel_supports(x):
        return functions.planes(x, functions.Surrogate(_WAVES[slope], scaled), definition)
    return definition(x)


def straight_through_planes(x: Tensor) -> Tensor:
    """Bit planes with ∂B_k/∂x̂ = 255·2^k / Σ_j 4^j, so that decode(encode(x)) has the slope of x̂.

    Args:
        x: (N, …) real, any range.

    Returns:
        (8, N, …) in {0, 1}.
    """

    def definition(x: Tensor) -> Tensor:
        return cast(Tensor, _StraightThroughPlanes.apply(unit_range(x), x.dtype))

    if kernel_supports(x):
        return functions.planes(x, functions.Surrogate(functions.STRAIGHT), definition)
    return definition(x)


def straight_through_number(x: Tensor) -> Tensor:
    """The number that planes stand for, with the slope of x̂: decode(encode(x)) without planes, (N, …) → (N, …)."""

    def definition(x: Tensor) -> Tensor:
        unit = unit_range(x)
        level = torch.round(unit.detach() * LEVELS).to(x.dtype) / LEVELS
        return level + (unit - unit.detach()).to(x.dtype)

    if kernel_supports(x):
        return functions.planes(x, functions.Surrogate(functions.NUMBER), definition)
    return definition(x)


class BitPlaneEncoder(Encoder):
    """Base of the bit-plane encoders: T = 8, least significant plane first."""

    api_version = 1
    code = BINARY_LSB_FIRST
    differentiable = True
    repeatable = True
    prices = (RANGE_STEP, BINARY_DIGITS)

    @property
    @final
    def timesteps(self) -> int:
        return PLANES


class SurrogateEncoder(BitPlaneEncoder):
    """Bit planes whose gradient is that of a smooth wave (paper eq. 16–18)."""

    scaled: ClassVar[bool] = True

    @staticmethod
    @abstractmethod
    def slope(intensity: Tensor, plane: int) -> Tensor:
        """f_k′(I) of the smooth wave, any shape → the same."""

    def forward(self, x: Tensor) -> Tensor:
        return surrogate_planes(x, self.slope, scaled=self.scaled)


@final
class SigmoidEncoder(SurrogateEncoder):
    """Sigmoid-wrapped sine, γ-scaled: eq. 16 with eq. 14."""

    slope = staticmethod(sigmoid_slope)


@final
class TanhEncoder(SurrogateEncoder):
    """Tanh-wrapped sine, γ-scaled: eq. 17 with eq. 14."""

    slope = staticmethod(tanh_slope)


@final
class FourierEncoder(SurrogateEncoder):
    """Five-term sine series, γ-scaled: eq. 18 with eq. 14."""

    slope = staticmethod(fourier_slope)


@final
class RawSigmoidEncoder(SurrogateEncoder):
    """Eq. 16 without γ, the paper's "unscaled" rows of table 1."""

    slope = staticmethod(sigmoid_slope)
    scaled = False


@final
class RawTanhEncoder(SurrogateEncoder):
    """Eq. 17 without γ."""

    slope = staticmethod(tanh_slope)
    scaled = False


@final
class RawFourierEncoder(SurrogateEncoder):
    """Eq. 18 without γ."""

    slope = staticmethod(fourier_slope)
    scaled = False


@final
class StraightThroughEncoder(BitPlaneEncoder):
    """Bit planes with the straight-through gradient: the slope of decoding after encoding is 1."""

    def forward(self, x: Tensor) -> Tensor:
        return straight_through_planes(x)
