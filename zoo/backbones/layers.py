"""Layers that the paired blocks share: each an analog and a spiking form of one thing."""

from __future__ import annotations

from typing import cast

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from zoo.contracts.backbone import ClassifierHead
from zoo.cpu.convolution import GuardedConv2d, GuardedSpikingConv2d
from zoo.cpu.pooling import average_pool
from zoo.cpu.recompute import keeps_for_backward

_SMALL_INPUT = 20480  # values; up to this size torch convolves a single float32 image by another kernel on the CPU


class Conv2d(GuardedConv2d):
    """A convolution that rounds a single small image as it rounds it within a batch.

    torch hands a single small image to another CPU kernel than a batch (ATen's `use_mkldnn`). The last bit that
    differs is enough to flip a bit plane behind it, and a flipped plane 7 is half the range: so a single small
    image is convolved as a batch of two. Not while tracing, where operations are counted.

    What is left: linear layers, and on one thread 1×1 convolutions, still round by their number of rows.
    """

    def forward(self, x: Tensor) -> Tensor:
        alone = x.shape[0] == 1 and x.device.type == "cpu" and x.numel() <= _SMALL_INPUT
        if alone and not torch.jit.is_tracing():  # type: ignore[attr-defined]
            return super().forward(torch.cat((x, x)))[:1]
        return super().forward(x)


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias over (N, C, H, W), padded by half its kernel."""
    return Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


def spiking_conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """The same over (T, N, C, H, W): T·N is its batch."""
    kind = layer.Conv2d if stride == 1 else GuardedSpikingConv2d
    conv: nn.Conv2d = kind(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False, step_mode="m")
    return conv


def spiking_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm over (T, N, C, H, W), statistics over T·N and pixels."""
    norm: nn.BatchNorm2d = layer.BatchNorm2d(channels, step_mode="m")
    return norm


class SpikingAvgPool2d(layer.AvgPool2d):
    """Average pooling over (T, N, C, H, W) that keeps no spikes for its backward pass: their shape is enough."""

    def __init__(self, kernel: int, stride: int, padding: int) -> None:
        super().__init__(kernel, stride, padding, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        if self.step_mode == "s" or not keeps_for_backward(x):
            return cast(Tensor, super().forward(x))
        images = average_pool(x.flatten(0, 1), self.kernel_size, self.stride, self.padding)
        return images.unflatten(0, x.shape[:2])

    def plain(self) -> layer.AvgPool2d:
        """The same as spikingjelly's own layer."""
        return layer.AvgPool2d(self.kernel_size, self.stride, self.padding, step_mode=self.step_mode)


def spiking_avg_pool(kernel: int, stride: int | None = None, padding: int = 0) -> nn.AvgPool2d:
    """Average pooling over (T, N, C, H, W); the stride is the kernel where none is given."""
    pool: nn.AvgPool2d = SpikingAvgPool2d(kernel, stride or kernel, padding)
    return pool


def spiking_linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer over (T, N, C)."""
    linear: nn.Linear = layer.Linear(in_features, out_features, step_mode="m")
    return linear


def pooled(x: Tensor, global_pool: str) -> Tensor:
    """(N, C, H, W) → (N, C) by the mean over pixels, or unchanged where `global_pool` is ''."""
    return x.mean((2, 3)) if global_pool else x


class PooledLinearHead(ClassifierHead):
    """Global average pooling and one linear layer, in neither branch."""

    def __init__(self, num_features: int, num_classes: int, global_pool: str) -> None:
        super().__init__()
        self.num_features = self.hidden_size = num_features
        self.global_pool = global_pool
        self.fc: nn.Module = nn.Identity()
        self.reset_classes(num_classes)

    def reset_classes(self, num_classes: int) -> None:
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def classifier(self) -> nn.Module:
        return self.fc

    def classifier_names(self) -> tuple[str, ...]:
        return ("fc",)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = pooled(x, self.global_pool)
        return x if pre_logits else self.fc(x)
