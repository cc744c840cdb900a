"""Precision of intensities and membrane potentials: float32 at least, whatever a model's dtype."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Widen x to float32 if it is narrower.

    In bfloat16 255·x would be rounded twice, in float16 a range could overflow, and in both a small current would
    not add to a potential.
    """
    return x if x.dtype == torch.float64 else x.float()
