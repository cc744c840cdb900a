"""The range step: an activation brought into [0, 1], sample by sample (design, "Exact semantics")."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.contracts.precision import at_least_float32

LEVELS = 255
"""The largest intensity of an 8-bit pixel; I = 255·x̂."""


def unit_range(x: Tensor) -> Tensor:
    """x̂ = (x − lo) / (hi − lo) with lo = min(0, min x) and hi = max(1, max x), per sample.

    The identity, also for gradients, where a sample lies inside [0, 1]; continuous in x; gradient
    through lo and hi elsewhere.

    Args:
        x: (N, C, …) real.

    Returns:
        x̂, the same shape, in [0, 1], float32 at least.
    """
    x = at_least_float32(x)
    if x.numel() == 0:
        return x
    shape = (-1,) + (1,) * (x.dim() - 1)
    lo, hi = (bound.reshape(shape) for bound in bounds(x.flatten(1)))
    return (x - lo) / (hi - lo)


def bounds(rows: Tensor) -> tuple[Tensor, Tensor]:
    """lo = min(0, min x) and hi = max(1, max x) of every row, float32 at least: (N, values) → twice (N, 1)."""
    lo, hi = at_least_float32(rows.amin(1, keepdim=True)), at_least_float32(rows.amax(1, keepdim=True))
    # `where`, not `clamp`: at a tie the bound is the constant and takes no gradient.
    return torch.where(lo < 0, lo, torch.zeros_like(lo)), torch.where(hi > 1, hi, torch.ones_like(hi))
