"""A network of spikingjelly as an image classifier of the zoo."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from zoo.blocks import HeadedClassifier, pooled
from zoo.contracts import ClassifierHead, FeatureInfo
from zoo.names import Spec
from zoo_spikingjelly.networks import Parts
from zoo_spikingjelly.published import Published


@final
class JoinTimesteps(nn.Module):
    """(T, N, C, H, W) → (N, T·C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1).flatten(1, 2)


@final
class SpikingjellyHead(ClassifierHead):
    """Pooling, a neuron over T where the network has one, the mean over T, dropout, one linear layer.

    Without a neuron its input is the mean over T already, with which pooling and the linear layer commute.
    """

    def __init__(
        self, network: Published, neuron: nn.Module | None, timesteps: int, num_classes: int, global_pool: str
    ) -> None:
        super().__init__()
        self.hidden_size = network.levels[-1].channels
        self.num_features = self.hidden_size * (timesteps if neuron is not None else 1)
        self.global_pool, self.timesteps, self.std = global_pool, timesteps, network.head_std
        self.neuron = neuron
        self.dropout = nn.Dropout(network.dropout)
        self.fc: nn.Module = nn.Identity()
        self.reset_classes(num_classes)

    def reset_classes(self, num_classes: int) -> None:
        self.fc = nn.Linear(self.hidden_size, num_classes) if num_classes else nn.Identity()
        if isinstance(self.fc, nn.Linear) and self.std is not None:
            nn.init.trunc_normal_(self.fc.weight, std=self.std)
            nn.init.zeros_(self.fc.bias)

    def classifier(self) -> nn.Module:
        return self.fc

    def classifier_names(self) -> tuple[str, ...]:
        return ("fc",)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if not self.global_pool:
            return x
        x = pooled(x, self.global_pool)
        if self.neuron is not None:
            spikes: Tensor = self.neuron(x.unflatten(1, (self.timesteps, self.hidden_size)).transpose(0, 1))
            x = spikes.mean(0)
        x = self.dropout(x)
        return x if pre_logits else self.fc(x)


@final
class SpikingjellyClassifier(HeadedClassifier):
    """Every timestep sees the image itself; feature maps are means over T.

    Where a neuron fires behind the pooling, the mean would be too early: there the last map holds all T timesteps,
    side by side in its channels.
    """

    head: SpikingjellyHead

    def __init__(
        self, spec: Spec, network: Published, parts: Parts, timesteps: int, num_classes: int, in_chans: int
    ) -> None:
        super().__init__(spec, num_classes, in_chans)
        self._timesteps = timesteps
        self.stages = parts.stages
        self.feature_info = [
            FeatureInfo(num_chs=level.channels, reduction=level.reduction, module=f"stages.{i}")
            for i, level in enumerate(network.levels)
        ]
        self.head = SpikingjellyHead(network, parts.head_neuron, timesteps, num_classes, "avg")
        self.num_features, self.head_hidden_size = self.head.num_features, self.head.hidden_size
        self.join = JoinTimesteps() if parts.head_neuron is not None else None
        if self.join is not None:
            self.feature_info[-1] |= {"num_chs": self.num_features, "module": "join"}

    @property
    def timesteps(self) -> int:
        return self._timesteps

    def forward_stages(self, x: Tensor, last: int) -> list[Tensor]:
        self.check_image(x)
        x = x.expand(self.timesteps, *x.shape)
        maps = []
        for stage in list(self.stages)[: last + 1]:
            x = self.run_blocks(stage, x)
            maps.append(x.mean(0))
        if self.join is not None and len(maps) == len(self.stages):
            maps[-1] = self.join(x)
        return maps

    @property
    def spiking_module_names(self) -> tuple[str, ...]:
        return ("stages",)

    @property
    def first_conv_names(self) -> tuple[str, ...]:
        return (next(name for name, module in self.named_modules() if isinstance(module, nn.Conv2d)),)
