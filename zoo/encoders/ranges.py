"""The range step: an activation brought into [0, 1], sample by sample (design, "Exact semantics")."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.precision import at_least_float32

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
    flat = x.flatten(1)
    lo, hi = flat.amin(1), flat.amax(1)
    # `where`, not `clamp`: at a tie the bound is the constant and takes no gradient.
    lo = torch.where(lo < 0, lo, torch.zeros_like(lo))
    hi = torch.where(hi > 1, hi, torch.ones_like(hi))
    shape = (-1,) + (1,) * (x.dim() - 1)
    lo, hi = lo.reshape(shape), hi.reshape(shape)
    return (x - lo) / (hi - lo)
