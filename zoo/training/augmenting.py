"""Random changes of training images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def augment(x: Tensor, flip: bool, max_shift: int, generator: torch.Generator) -> Tensor:
    """Each image mirrored with probability ½ and moved by up to `max_shift` pixels, black entering.

    Args:
        x: (N, C, H, W).
        flip: whether to mirror.
        max_shift: pixels.
        generator: of the random choices.
    """
    n, _, height, width = x.shape
    if flip:
        mirrored = torch.rand(n, generator=generator) < 0.5
        x = torch.where(mirrored.reshape(-1, 1, 1, 1), x.flip(3), x)
    if not max_shift:
        return x
    padded = functional.pad(x, (max_shift,) * 4)
    shifts = torch.randint(0, 2 * max_shift + 1, (2, n, 1), generator=generator)
    rows = (shifts[0] + torch.arange(height)).reshape(n, 1, height, 1)
    columns = (shifts[1] + torch.arange(width)).reshape(n, 1, 1, width)
    every = torch.arange(n).reshape(n, 1, 1, 1), torch.arange(x.shape[1]).reshape(1, -1, 1, 1)
    return padded[every[0], every[1], rows, columns]
