"""The order in which maps lie in memory."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.cpu.functions import TYPES
from zoo.cpu.private import is_transformed

MANY_CHANNELS, _FEW_PIXELS = 384, 4
"""Maps of so many channels and so few pixels oneDNN convolves in blocks of its own, up to three times as fast."""


def pixels_last(images: Tensor) -> Tensor:
    """The same (N, C, H, W), channel by channel within a pixel (channels_last), on the CPU in float32 or narrower.

    Every layer behind it keeps that order; convolutions, norms and pooling are faster in it than in torch's default,
    but for wide maps of a few pixels, which are brought into that one. While operations are counted there is nothing
    to gain.
    """
    if not images.is_cpu or images.dtype not in TYPES or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return images
    if torch.compiler.is_compiling():
        return images.contiguous(memory_format=torch.channels_last)
    if is_transformed(images):
        return images
    _, channels, height, width = images.shape
    if height * width <= _FEW_PIXELS and channels >= MANY_CHANNELS:
        return images.contiguous()
    return images.contiguous(memory_format=torch.channels_last)


torch.fx.wrap("pixels_last")  # which takes it as one operation if it is called as `layout.pixels_last`
