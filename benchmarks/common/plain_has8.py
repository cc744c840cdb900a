"""The published arithmetic of HAS-8, written down plainly from the paper's equations: what ours is measured against.

Plane by plane, every cosine of the Fourier slope as a tensor of its own, stacked and summed; spikingjelly's LIF node,
reset after every forward; the range step over the whole batch. It imports nothing of `zoo`. The layers and their order
are those of `has8_resnet_b…_m…_d…` and `has8_vgg_b…_m…_d…`, so parameters and multiplications agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

PLANES, LEVELS, HARMONICS = 8, 255, (1, 3, 5, 7, 9)
STEM, HIDDEN = 64, (1024, 512)

Block = Callable[[bool], nn.Module]
"""Builds the analog (False) or the spiking (True) form of a block."""


class FourierPlanes(torch.autograd.Function):
    """B_k(I), eq. 8; backward 255 · Σ_k γ_k g_k (−2/2^k) Σ_n cos(nπI/2^k), eq. 14 and 18."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        intensity = torch.round(x * LEVELS)
        return torch.stack([torch.div(intensity, 2**k, rounding_mode="floor").remainder(2) for k in range(PLANES)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        slopes = []
        for k in range(PLANES):
            theta = math.pi * LEVELS * x / 2**k
            cosines = torch.stack([torch.cos(n * theta) for n in HARMONICS]).sum(0)
            slopes.append(-2 / 2**k * cosines * (k / 2 ** (7 - k)))
        return (grads[0] * torch.stack(slopes)).sum(0) * LEVELS


class StraightThroughPlanes(torch.autograd.Function):
    """B_k(I), eq. 8; backward Σ_k g_k · 255·2^k / Σ_j 4^j."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        intensity = torch.round(x * LEVELS)
        return torch.stack([torch.div(intensity, 2**k, rounding_mode="floor").remainder(2) for k in range(PLANES)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        slopes = [torch.full_like(grads[0][0], LEVELS * 2**k / sum(4**j for j in range(PLANES))) for k in range(PLANES)]
        return (grads[0] * torch.stack(slopes)).sum(0)


ENCODERS = {"fourier": FourierPlanes, "ste": StraightThroughPlanes}


def batch_range(x: Tensor) -> Tensor:
    """Min-max over the whole batch where any value leaves [0, 1]."""
    if x.min() < 0 or x.max() > 1:
        return (x - x.min()) / (x.max() - x.min())
    return x


def decode(spikes: Tensor) -> Tensor:
    """(1/255) Σ_k 2^k S_k, eq. 20."""
    weights = torch.tensor([2.0**k for k in range(PLANES)], dtype=spikes.dtype, device=spikes.device)
    return (weights.view(-1, *[1] * (spikes.dim() - 1)) * spikes).sum(0) / LEVELS


def lif() -> nn.Module:
    """The published neuron."""
    return neuron.LIFNode(tau=2.0, surrogate_function=surrogate.ATan(), step_mode="m")


def conv(spiking: bool, width_in: int, width: int, kernel: int, stride: int = 1) -> nn.Module:
    if spiking:
        return layer.Conv2d(width_in, width, kernel, stride, padding=kernel // 2, bias=False, step_mode="m")
    return nn.Conv2d(width_in, width, kernel, stride, padding=kernel // 2, bias=False)


def norm(spiking: bool, width: int) -> nn.Module:
    return layer.BatchNorm2d(width, step_mode="m") if spiking else nn.BatchNorm2d(width)


def linear(spiking: bool, width_in: int, width: int) -> nn.Module:
    return layer.Linear(width_in, width, step_mode="m") if spiking else nn.Linear(width_in, width)


def average_pool(spiking: bool, kernel: int, stride: int | None = None, padding: int = 0) -> nn.Module:
    return layer.AvgPool2d(kernel, stride, padding, step_mode="m") if spiking else nn.AvgPool2d(kernel, stride, padding)


class Residual(nn.Module):
    """A basic block: ReLU after the addition in the analog form, spikes added in the spiking one."""

    def __init__(self, spiking: bool, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.spiking = spiking
        self.body = nn.Sequential(
            conv(spiking, width_in, width, 3, stride),
            norm(spiking, width),
            lif() if spiking else nn.ReLU(),
            conv(spiking, width, width, 3),
            norm(spiking, width),
        )
        self.last = lif() if spiking else nn.ReLU()
        self.shortcut = nn.Sequential()
        if stride != 1 or width_in != width:
            self.shortcut = nn.Sequential(conv(spiking, width_in, width, 1, stride), norm(spiking, width))
            if spiking:
                self.shortcut.append(lif())

    def forward(self, x: Tensor) -> Tensor:
        if self.spiking:
            return self.last(self.body(x)) + self.shortcut(x)
        return self.last(self.body(x) + self.shortcut(x))


def resnet_stem(spiking: bool) -> nn.Module:
    pool = average_pool(True, 3, 2, 1) if spiking else nn.MaxPool2d(3, 2, 1)
    act = lif() if spiking else nn.ReLU()
    return nn.Sequential(conv(spiking, 3, STEM, 7, 2), norm(spiking, STEM), act, pool)


def vgg_block(spiking: bool, width_in: int, width: int) -> nn.Module:
    act = lif() if spiking else nn.LeakyReLU(0.01)
    return nn.Sequential(conv(spiking, width_in, width, 3), norm(spiking, width), act, average_pool(spiking, 2))


def vgg_head(spiking: bool, width: int, classes: int) -> nn.Module:
    layers: list[nn.Module] = []
    for width_in, width_out in ((width, HIDDEN[0]), HIDDEN, (HIDDEN[1], classes)):
        layers += [linear(spiking, width_in, width_out), lif() if spiking else nn.LeakyReLU(0.01)]
    return nn.Sequential(*layers)


class Paired(nn.Module):
    """analog(x) + decode(spiking(encode(x)))."""

    def __init__(self, block: Block, encoder: str) -> None:
        super().__init__()
        self.analog, self.spiking, self.planes = block(False), block(True), ENCODERS[encoder]

    def forward(self, x: Tensor) -> Tensor:
        return self.analog(x) + decode(self.spiking(self.planes.apply(batch_range(x))))


def _resnet_blocks(base: int, mult: int, depth: int) -> tuple[list[Block], int]:
    blocks: list[Block] = [resnet_stem]
    width_in = STEM
    for i in range(depth):
        width = base * mult**i
        for stride in (2 if i else 1, 1):
            blocks.append(partial(Residual, width_in=width_in, width=width, stride=stride))
            width_in = width
    return blocks, width_in


def _vgg_blocks(base: int, mult: int, depth: int) -> tuple[list[Block], int]:
    blocks: list[Block] = []
    width_in = 3
    for i in range(depth + 1):
        width = 3 * base * mult**i
        blocks.append(partial(vgg_block, width_in=width_in, width=width))
        width_in = width
    return blocks, width_in


class PlainHas8(nn.Module):
    """(N, 3, H, W) in [0, 1] → logits (N, classes); `backbone` is "resnet" or "vgg"."""

    def __init__(self, backbone: str, base: int, mult: int, depth: int, encoder: str, classes: int) -> None:
        super().__init__()
        blocks, width = (_resnet_blocks if backbone == "resnet" else _vgg_blocks)(base, mult, depth)
        self.blocks = nn.Sequential(*(Paired(block, encoder) for block in blocks))
        self.head: nn.Module = nn.Linear(width, classes)
        if backbone == "vgg":
            self.head = Paired(lambda spiking: vgg_head(spiking, width, classes), encoder)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.blocks(x).mean((2, 3)))
        functional.reset_net(self)
        return logits
