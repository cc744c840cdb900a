"""Encoders and decoders with one defect each, and what the kit must say of it."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from zoo.contracts import Decoder, Encoder


class OwnEncoder(Encoder):
    """One plane, in a code that no other encoder speaks; its gradient goes straight through."""

    api_version = 1
    code = "own"
    timesteps = 1
    differentiable = True

    def forward(self, x: Tensor) -> Tensor:
        bounded = x.clamp(0, 1)
        return (bounded.round().detach() + (bounded - bounded.detach()))[None]


class OwnDecoder(Decoder):
    """Reads that code alone."""

    api_version = 1
    codes = frozenset({"own"})
    timesteps = 1

    def forward(self, spikes: Tensor) -> Tensor:
        return spikes.mean(0)


class LastWhenTraining(OwnEncoder):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.last = x
        return super().forward(x)


class Keeps(OwnEncoder):
    """Its inputs, in whatever it was made with."""

    def __init__(self, kept: Any) -> None:
        super().__init__()
        self.kept = kept


class KeepsInADeque(Keeps):
    def __init__(self) -> None:
        super().__init__(deque(maxlen=2))

    def forward(self, x: Tensor) -> Tensor:
        self.kept.append(x)
        return super().forward(x)


class KeepsInANamespace(Keeps):
    def __init__(self) -> None:
        super().__init__(SimpleNamespace())

    def forward(self, x: Tensor) -> Tensor:
        self.kept.x = x
        return super().forward(x)


class KeepsFarBelow(Keeps):
    def __init__(self) -> None:
        super().__init__([SimpleNamespace(of={"batches": deque()})])

    def forward(self, x: Tensor) -> Tensor:
        self.kept[0].of["batches"].append(x)
        return super().forward(x)


class CentredWhenTraining(OwnEncoder):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0) + 0.5 if self.training and len(x) else x)


class Seeds(OwnEncoder):
    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(0)
        return super().forward(x)


class SeedsWhenTraining(OwnEncoder):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        torch.manual_seed(0)
        return super().forward(x + torch.rand_like(x) / 8)


class DrawsInVain(OwnEncoder):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0 * torch.rand_like(x))


class WaryOfImages(OwnEncoder):
    """Repeats the planes of vectors alone."""

    repeatable = True

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.5 * torch.rand_like(x) if self.training and x.ndim > 2 else x)


ENCODERS: list[tuple[type[Encoder], str, str]] = [
    (
        LastWhenTraining,
        "a_forward_leaves_no_state",
        "leaves the tensor `last` of shape (3, 2, 4, 4) behind, in training",
    ),
    (KeepsInADeque, "a_forward_leaves_no_state", "leaves the tensor `kept` of shape (3, 2, 4, 4) behind, in eval mode"),
    (KeepsInANamespace, "a_forward_leaves_no_state", "leaves the tensor `kept`"),
    (KeepsFarBelow, "a_forward_leaves_no_state", "leaves the tensor `kept`"),
    (CentredWhenTraining, "batch_mates_change_nothing", "other samples of its batch, in training mode"),
    (Seeds, "random_numbers_are_left_alone", "a forward in eval mode seeds torch's generator"),
    (SeedsWhenTraining, "random_numbers_are_left_alone", "a forward in training mode seeds torch's generator"),
    (DrawsInVain, "random_numbers_are_left_alone", "a forward in eval mode draws random numbers"),
    (WaryOfImages, "repeatable_planes_repeat_in_training_mode", "images give other planes the second time"),
]


class Weighted(Decoder):
    """Adds in an order that follows the layout of the spikes, as matrix products may: the last bits differ."""

    api_version = 1
    codes = None
    timesteps = 8

    def forward(self, spikes: Tensor) -> Tensor:
        weighted = [plane * (2**t / 255) for t, plane in enumerate(spikes)]
        return sum(weighted if spikes.is_contiguous() else weighted[::-1], torch.zeros_like(weighted[0]))


class Strided(Weighted):
    """Takes the spikes to lie as they usually do."""

    def forward(self, spikes: Tensor) -> Tensor:
        plain = torch.empty(spikes.shape, device=spikes.device).stride()
        raw = spikes.as_strided(spikes.shape, plain) if spikes.numel() else spikes
        return super().forward(raw)


DECODERS: list[tuple[type[Decoder], str, str]] = [
    (Strided, "strided_inputs", "use reshape instead of view, and no raw strides"),
]
