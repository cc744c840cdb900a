"""torchvision's ResNet and spikingjelly's SEW-ResNet as image classifiers of the zoo; the networks are theirs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast, final

from torch import Tensor, nn

from zoo.backbones.layers import PooledLinearHead
from zoo.contracts.classifier import FeatureInfo
from zoo.contracts.encoder import CONSTANT, Encoder
from zoo.contracts.neuron import NeuronFactory
from zoo.families.fusion import numbered_layers
from zoo.families.headed import HeadedClassifier
from zoo.names import Spec

STAGES = ("layer1", "layer2", "layer3", "layer4")


@final
class ResidualBaseline(HeadedClassifier):
    """A four-stage residual network, its stem and stages taken from `network`.

    With an encoder, everything between it and the mean over T carries (T, N, …).
    """

    def __init__(
        self, spec: Spec, network: nn.Module, stem: list[str], encoder: Encoder | None, num_classes: int, in_chans: int
    ) -> None:
        super().__init__(spec, num_classes, in_chans)
        self.encoder = encoder
        self.stem = nn.Sequential()
        for name in stem:
            self.stem.add_module(name, network.get_submodule(name))
        self.stages = nn.Sequential(*(network.get_submodule(name) for name in STAGES))
        fc = cast(nn.Linear, network.get_submodule("fc"))
        self.num_features = self.head_hidden_size = fc.in_features
        widths = [fc.in_features // 2**i for i in (3, 2, 1, 0)]
        self.feature_info = [FeatureInfo(num_chs=64, reduction=4, module="stem.maxpool")]
        self.feature_info += [
            FeatureInfo(num_chs=width, reduction=4 * 2**i, module=f"stages.{i}") for i, width in enumerate(widths)
        ]
        self.head = PooledLinearHead(fc.in_features, num_classes, "avg")

    @property
    def timesteps(self) -> int:
        return self.encoder.timesteps if self.encoder is not None else 1

    def forward_stages(self, x: Tensor, last: int) -> list[Tensor]:
        self.check_image(x)
        x = self._encoded_stem(x, self.encoder) if self.encoder is not None else self.stem(x)
        maps = [x]
        for stage in list(self.stages)[:last]:
            x = self.run_blocks(stage, x)
            maps.append(x)
        return maps if self.encoder is None else [feature_map.mean(0) for feature_map in maps]

    def _encoded_stem(self, x: Tensor, encoder: Encoder) -> Tensor:
        """(N, C, H, W) → (T, N, 64, H/4, W/4). A real image is convolved once: it is the same at every timestep."""
        if encoder.code != CONSTANT:
            return cast(Tensor, self.stem(encoder(x)))
        currents = x[None]
        for module in list(self.stem)[:2]:  # one by one: a slice is no submodule, and torch.fx could not name it
            currents = module(currents)
        spikes = encoder(currents[0])
        for module in list(self.stem)[2:]:
            spikes = module(spikes)
        return cast(Tensor, spikes)

    def norm_pairs(self) -> Iterable[tuple[str, str]]:
        return (*super().norm_pairs(), *numbered_layers(self))

    def drop_above(self, last: int) -> None:
        self.stages = cast(nn.Sequential, self.stages[:last])

    @property
    def spiking_module_names(self) -> tuple[str, ...]:
        if self.encoder is None:
            return ()
        if self.encoder.code != CONSTANT:
            return ("stem", "stages")
        return (*(f"stem.{name}" for name, _ in list(self.stem.named_children())[2:]), "stages")

    @property
    def first_conv_names(self) -> tuple[str, ...]:
        return ("stem.conv1",)


def torchvision_resnet(spec: Spec, num_classes: int, in_chans: int) -> ResidualBaseline:
    """torchvision's ResNet of that name."""
    from torchvision.models import get_model

    network = get_model(str(spec["network"]), weights=None)
    if in_chans != 3:
        network.conv1 = nn.Conv2d(in_chans, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return ResidualBaseline(spec, network, ["conv1", "bn1", "relu", "maxpool"], None, num_classes, in_chans)


def sew_resnet(
    spec: Spec, encoder: Encoder, neuron: NeuronFactory, num_classes: int, in_chans: int
) -> ResidualBaseline:
    """spikingjelly's SEW-ResNet (ADD) in multi-step mode.

    The linear head commutes with the mean over T, so averaging the features gives the averaged outputs.
    """
    from spikingjelly.activation_based import functional, layer
    from spikingjelly.activation_based.model import sew_resnet as sew

    def make_neuron(**_: Any) -> nn.Module:
        return neuron()

    network = getattr(sew, f"sew_{spec['network']}")(cnf="ADD", spiking_neuron=make_neuron)
    if in_chans != 3:
        network.conv1 = layer.Conv2d(in_chans, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    functional.set_step_mode(network, "m")
    return ResidualBaseline(spec, network, ["conv1", "bn1", "sn1", "maxpool"], encoder, num_classes, in_chans)
