"""Gray-code bit planes for has8-zoo: the encoder `gray`, and the decoder `gray` that reads it.

In Gray code the intensities k and k + 1 differ in one bit of eight. In plain binary 127 and 128 differ in all of
them, so that the smallest step of an activation flips every plane.

    g = k ^ (k >> 1),  plane t is bit t of g, least significant first

The zoo imports this module when a model first needs one of its names, so it may import torch. An import changes
nothing else: no seeds, no settings, no registering.
"""

from __future__ import annotations

from typing import Any, cast, final

import torch
from torch import Tensor

from zoo.blocks import bit_plane_decode, bit_planes, unit_range
from zoo.contracts import RANGE_STEP, Decoder, Encoder, Price, Work

TIMESTEPS = 8
CODE = "gray-lsb-first"
"""The meaning of the planes. A decoder names the codes it can read, and the zoo compares the two when it builds."""


def gray_planes(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Bits of g = k ^ (k >> 1), k = round(255·x); no gradient.

    Args:
        x: (N, C, …) in [0, 1].
        dtype: of the planes.

    Returns:
        (8, N, C, …) in {0, 1}.
    """
    binary = bit_planes(x, dtype)
    # Bit t of k ^ (k >> 1) says whether bits t and t + 1 of k differ; above bit 7 there is nothing.
    return torch.cat(((binary[:-1] - binary[1:]).abs(), binary[-1:]))


def fold(counts: Tensor) -> Tensor:
    """The distance to the nearest even number: x on [0, 1], then down to 0 at 2, up again. Any shape → the same.

    Inside a network a plane holds more than 0 and 1: a residual addition counts spikes, pooling averages them. Gray
    code asks whether a count is odd, and this continues that question between the whole numbers, with slope ±1.
    """
    rest = torch.remainder(counts, 2)
    return torch.where(rest > 1, 2 - rest, rest)


def gray_decode(planes: Tensor) -> Tensor:
    """Bit t of k is the parity of planes t, t + 1, …, 7; then eq. 20 of the paper, Σ 2^t·b_t / 255.

    A parity is a product of signs: b_t = (1 − Π_{j ≥ t} (1 − 2·g_j)) / 2. It is exact for zeros and ones, and
    differentiable.

    Args:
        planes: (8, N, C, …), zeros and ones, or counts and averages of them (see `fold`).

    Returns:
        (N, C, …) in [0, 1].
    """
    signs = 1 - 2 * fold(planes)
    parities = [signs[-1]]
    for sign in reversed(signs[:-1]):
        parities.append(parities[-1] * sign)
    return bit_plane_decode((1 - torch.stack(parities[::-1])) / 2)


def decoder_slopes(planes: Tensor) -> Tensor:
    """255 · ∂gray_decode/∂g_j at zeros and ones, in closed form: (8, N, C, …) → the same, odd numbers, never 0.

    With signs s_t = Π_{j ≥ t} (1 − 2·g_j) it is (1 − 2·g_j) · Σ_{t ≤ j} 2^t·s_t.
    """
    signs = 1 - 2 * planes
    parities = signs.flip(0).cumprod(0).flip(0)
    weights = torch.tensor([2.0**t for t in range(TIMESTEPS)], dtype=planes.dtype, device=planes.device)
    return signs * (parities * weights.reshape((TIMESTEPS,) + (1,) * (planes.dim() - 1))).cumsum(0)


@final
class _GrayPlanes(torch.autograd.Function):
    """Gray planes forward; backward the smallest slopes for which decoding after encoding has the slope 1.

    Planes are steps, so their true derivative is 0 and nothing would learn. The zoo's `ste` takes ∂B/∂x = J / |J|²,
    where J is the slope of its decoder (equations.md, "straight-through"); this is the same for Gray code, where J
    depends on the planes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(x)  # x alone: eight planes would be eight times the memory
        return gray_planes(x, dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        slopes = decoder_slopes(gray_planes(x, x.dtype))
        # One gradient for each argument of `forward`; None for those that have none.
        return 255 * (grads[0].to(x.dtype) * slopes).sum(0) / slopes.square().sum(0), None


@final
class GrayEncoder(Encoder):
    """(N, C, …) real, any range → (8, N, C, …) in {0, 1}."""

    api_version = 1  # of zoo.contracts, for which this was written and tested
    code = CODE
    differentiable = True
    repeatable = True
    # What `zoo profile` charges: the zoo's own range step, then for every activation one rounding.
    prices = (
        RANGE_STEP,
        Price("Gray-code encoder", read=Work(acs=1), reason="rounds; a digit is a gate of two binary ones"),
    )

    @property
    def timesteps(self) -> int:
        return TIMESTEPS

    def forward(self, x: Tensor) -> Tensor:
        # `unit_range` brings each sample into [0, 1] by itself and works in float32 at least.
        return cast(Tensor, _GrayPlanes.apply(unit_range(x), x.dtype))


@final
class GrayDecoder(Decoder):
    """(8, N, C, …) → (N, C, …) in [0, 1]."""

    api_version = 1
    codes = frozenset({CODE})
    timesteps = TIMESTEPS
    prices = (
        Price(
            "Gray-code decoder",
            read=Work(macs=2, acs=2),
            written=Work(macs=1),
            reason="for every spike its fold, sign, the product of signs and the sum; one scaling by 1/255",
        ),
    )

    def forward(self, spikes: Tensor) -> Tensor:
        return gray_decode(spikes)
