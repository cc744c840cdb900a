"""Layers that the paired blocks share: each an analog and a spiking form of one thing."""

from __future__ import annotations

from spikingjelly.activation_based import layer
from torch import Tensor, nn

from zoo.contracts.modules import ClassifierHead


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias over (N, C, H, W), padded by half its kernel."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


def spiking_conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """The same over (T, N, C, H, W): T·N is its batch."""
    made: nn.Conv2d = layer.Conv2d(
        in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False, step_mode="m"
    )
    return made


def spiking_norm(channels: int) -> nn.BatchNorm2d:
    """Batch norm over (T, N, C, H, W), statistics over T·N and pixels."""
    made: nn.BatchNorm2d = layer.BatchNorm2d(channels, step_mode="m")
    return made


def spiking_linear(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer over (T, N, C)."""
    made: nn.Linear = layer.Linear(in_features, out_features, step_mode="m")
    return made


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
        self.reset(num_classes, global_pool)

    def reset(self, num_classes: int, global_pool: str | None = None) -> None:
        if global_pool is not None:
            self.global_pool = global_pool
        self.fc = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def classifier(self) -> nn.Module:
        return self.fc

    def classifier_names(self) -> tuple[str, ...]:
        return ("fc",)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = pooled(x, self.global_pool)
        return x if pre_logits else self.fc(x)
