"""Frames: an input that has timesteps already, such as the events of a camera, summed over short times."""

from __future__ import annotations

from typing import final

from torch import Tensor

from zoo.contracts.encoder import FRAMES
from zoo.encoders.direct import ValueEncoder
from zoo.errors import InputError


@final
class FramesEncoder(ValueEncoder):
    """x_t = frame t: (N, T, C, …) → (T, N, C, …), a view of x.

    Example:
        >>> import torch
        >>> FramesEncoder(timesteps=8)(torch.rand(2, 8, 2, 32, 32)).shape
        torch.Size([8, 2, 2, 32, 32])

    Args:
        timesteps: T, as many frames as every input has.
    """

    code = FRAMES

    def __init__(self, timesteps: int = 8) -> None:
        super().__init__(timesteps)

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() < 3 or x.shape[1] != self._timesteps:
            raise InputError(f"the encoder frames takes {self._timesteps} frames (N, T, C, …), not {tuple(x.shape)}")
        return x.transpose(0, 1)
