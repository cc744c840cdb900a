"""Layers that the paired blocks share: each an analog and a spiking form of one thing; and heads."""

from __future__ import annotations

from typing import ClassVar, cast, final

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from zoo.contracts.backbone import ClassifierHead
from zoo.cpu import functions
from zoo.cpu.conv import Conv2d, SpikingConv2d
from zoo.cpu.functions import kernel_supports


class FusableSequential(nn.Sequential):
    """Layers that only run all together: `fuse` may leave those out that it folds."""


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias over (N, C, H, W), padded by half its kernel."""
    return Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


def spiking_conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """The same over (T, N, C, H, W): T·N is its batch."""
    shape = (in_channels, out_channels, kernel, stride)
    conv: nn.Conv2d = SpikingConv2d(*shape, padding=kernel // 2, bias=False, step_mode="m")
    return conv


def spiking_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm over (T, N, C, H, W), statistics over T·N and pixels."""
    norm: nn.BatchNorm2d = layer.BatchNorm2d(channels, step_mode="m")
    return norm


@final
class SpikingAvgPool2d(layer.AvgPool2d):
    """Average pooling over (T, N, C, H, W) that keeps no spikes for its backward pass: their shape is enough."""

    def __init__(self, kernel: int, stride: int, padding: int) -> None:
        super().__init__(kernel, stride, padding, step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        if self.step_mode == "s" or not kernel_supports(x) or not functions.can_pool(self, x):
            return cast(Tensor, super().forward(x))
        images = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        pooled = functions.average_pool(images, self.kernel_size, self.stride, self.padding)
        return pooled.unflatten(0, x.shape[:2])


def spiking_avg_pool(kernel: int, stride: int | None = None, padding: int = 0) -> nn.AvgPool2d:
    """Average pooling over (T, N, C, H, W); the stride is the kernel by default."""
    pool: nn.AvgPool2d = SpikingAvgPool2d(kernel, stride or kernel, padding)
    return pool


def spiking_linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer over (T, N, C)."""
    linear: nn.Linear = layer.Linear(in_features, out_features, step_mode="m")
    return linear


def pooled(x: Tensor, global_pool: str) -> Tensor:
    """(N, C, H, W) → (N, C) by the mean over pixels, or unchanged if `global_pool` is ''."""
    return x.mean((2, 3)) if global_pool else x


class LinearHead(ClassifierHead):
    """One linear layer, in neither branch; a subclass pools before it."""

    bias: ClassVar[bool] = True

    def __init__(self, num_features: int, num_classes: int, global_pool: str) -> None:
        super().__init__()
        self.num_features = self.hidden_size = num_features
        self.global_pool = global_pool
        self.fc: nn.Module = nn.Identity()
        self.reset_classes(num_classes)

    def reset_classes(self, num_classes: int) -> None:
        self.fc = nn.Linear(self.num_features, num_classes, self.bias) if num_classes else nn.Identity()

    def classifier(self) -> nn.Module:
        return self.fc

    def classifier_names(self) -> tuple[str, ...]:
        return ("fc",)


@final
class PooledLinearHead(LinearHead):
    """Global average pooling and one linear layer."""

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = pooled(x, self.global_pool)
        return x if pre_logits else self.fc(x)
