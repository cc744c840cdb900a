"""MS-ResNet (arXiv:2112.08954) as I2E has it (arXiv:2511.08065), over frames: another implementation of its equations.

    x_0 = maxpool(norm(conv7(frame)))
    x_{i+1} = norm(conv3(s(norm(conv3(s(x_i)))))) + shortcut(x_i)      shortcut: x_i, or norm(conv1(s(x_i)))
    logits = mean over T of W · s(mean over pixels of x_n) + b

s are spikes of `UndecayedLIF`. A shortcut carries real currents, not spikes, and no neuron stands behind a sum.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import cast, final

import torch
from spikingjelly.activation_based import layer, surrogate
from torch import Tensor, nn

from zoo.blocks import (
    ALPHA,
    FramesEncoder,
    NetworkOverTime,
    PooledLinearHead,
    Whole,
    at_least_float32,
    spiking_conv,
    spiking_norm,
)
from zoo.contracts import FeatureInfo, Neuron
from zoo.names import Spec

STEM_WIDTH = 64


@final
class UndecayedLIF(Neuron):
    """h_t = v_{t−1}/2 + x_t; s_t = [h_t ≥ 1]; v_t = (1 − s_t)·h_t: the potential decays, the current does not.

    Arctan surrogate gradient, α = 2; the reset is left out of the gradient. spikingjelly's `LIFNode` with
    `decay_input=False, detach_reset=True`.
    """

    api_version = 1

    def __init__(self) -> None:
        super().__init__()
        self.surrogate = surrogate.ATan(ALPHA)

    def forward(self, x: Tensor) -> Tensor:
        potential: Tensor | None = None
        spikes: list[Tensor] = []
        for current in x:
            fired, potential = self.step(current, potential)
            spikes.append(fired)
        return torch.stack(spikes)

    @property
    def streams(self) -> bool:
        return True

    def step(self, x: Tensor, potential: Tensor | None) -> tuple[Tensor, Tensor]:
        current = at_least_float32(x)
        charged = current if potential is None else potential / 2 + current
        fired = self.surrogate(charged - 1)
        return fired.to(x.dtype), charged * (1 - fired.detach())


@final
class MembraneBlock(nn.Module):
    """Two convolutions and their norms, a neuron before each, added to the current that came in."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        first, second = _layers(width_in, width, 3, stride), _layers(width, width, 3, 1)
        self.body = Whole(*first, *second)
        changes = stride != 1 or width != width_in
        self.shortcut = Whole(*_layers(width_in, width, 1, stride)) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.body(x) + self.shortcut(x))


def _layers(width_in: int, width: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
    return UndecayedLIF(), spiking_conv(width_in, width, kernel, stride), spiking_norm(width)


@final
class PoolAndFire(nn.Module):
    """Mean over pixels, then a neuron: (T, N, C, H, W) → (T, N, C, 1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.neuron = UndecayedLIF()

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.neuron(x.mean((-2, -1), keepdim=True)))


@final
class MembraneResNet(NetworkOverTime):
    """Stem, four stages, then pooling and a last neuron, whose rates (N, C, 1, 1) are what the linear head sees.

    Levels of features are currents averaged over T.
    """

    takes_frames = True

    def __init__(
        self, spec: Spec, blocks: Sequence[int], encoder: FramesEncoder, num_classes: int, in_chans: int
    ) -> None:
        super().__init__(spec, num_classes, in_chans)
        self.encoder = encoder
        self.stem = nn.Sequential(
            OrderedDict(
                conv=spiking_conv(in_chans, STEM_WIDTH, 7, stride=2),
                bn=spiking_norm(STEM_WIDTH),
                pool=layer.MaxPool2d(3, stride=2, padding=1, step_mode="m"),
            )
        )
        self.stages = nn.Sequential()
        self.feature_info = [FeatureInfo(num_chs=STEM_WIDTH, reduction=4, module="stem")]
        width_in = STEM_WIDTH
        for i, count in enumerate(blocks):
            width, stride = STEM_WIDTH * 2**i, 2 if i else 1
            stage = nn.Sequential(MembraneBlock(width_in, width, stride))
            stage.extend(MembraneBlock(width, width, 1) for _ in range(1, count))
            self.stages.append(stage)
            self.feature_info.append(FeatureInfo(num_chs=width, reduction=4 * 2**i, module=f"stages.{i}"))
            width_in = width
        self.last: nn.Module = PoolAndFire()
        self.head = PooledLinearHead(width_in, num_classes, "avg")
        self.num_features = self.head_hidden_size = width_in
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    @property
    def timesteps(self) -> int:
        return self.encoder.timesteps

    def run_stages(self, x: Tensor, last: int) -> Iterator[Tensor]:
        self.check_image(x)
        x = cast(Tensor, self.stem(self.encoder(x)))
        yield x
        for stage in list(self.stages)[:last]:
            x = self.run_blocks(stage, x)
            yield x

    def mean_over_time(self, carried: Tensor) -> Tensor:
        return carried.mean(0)

    def features_over_time(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.last(super().features_over_time(x)))

    def forward_levels(self, x: Tensor, levels: list[int], norm: bool, stop_early: bool) -> tuple[Tensor, list[Tensor]]:
        top = len(self.feature_info) - 1
        last = max(levels) if stop_early else top
        carried = list(self.run_stages(x, last))
        final = self.last(carried[-1]) if last == top else carried[-1]
        return self.mean_over_time(final), [self.mean_over_time(carried[level]) for level in levels]

    def drop_above(self, last: int) -> None:
        self.stages = nn.Sequential(*list(self.stages)[:last])
        self.last = nn.Identity()

    @property
    def spiking_module_names(self) -> tuple[str, ...]:
        return ("stem", "stages", "last")

    @property
    def first_conv_names(self) -> tuple[str, ...]:
        return ("stem.conv",)
