"""torchvision's ResNet and spikingjelly's SEW-ResNet as image classifiers of the zoo; the networks are theirs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import cast, final

from torch import Tensor, nn

from zoo.backbones.layers import PooledLinearHead
from zoo.contracts.classifier import FeatureInfo
from zoo.contracts.encoder import CONSTANT, FRAMES, Encoder
from zoo.contracts.neuron import NeuronFactory
from zoo.decoders import averages
from zoo.families.fusion import numbered_layers
from zoo.families.over_time import NetworkOverTime
from zoo.names import Spec


@final
class ResidualBaseline(NetworkOverTime):
    """A four-stage residual network whose stem and stages are taken from `network`; `act` is its first activation.

    With an encoder, everything between it and the mean over T carries (T, N, …).
    """

    def __init__(
        self, spec: Spec, network: nn.Module, act: str, encoder: Encoder | None, num_classes: int, in_chans: int
    ) -> None:
        super().__init__(spec, num_classes, in_chans)
        self.encoder = encoder
        self.takes_frames = encoder is not None and encoder.code == FRAMES
        self.stem = nn.Sequential(OrderedDict((n, network.get_submodule(n)) for n in ("conv1", "bn1", act, "maxpool")))
        if in_chans != 3:
            convolution = cast("type[nn.Conv2d]", type(network.conv1))
            conv = self.stem.conv1 = convolution(in_chans, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        self.stages = nn.Sequential(*(network.get_submodule(f"layer{i}") for i in (1, 2, 3, 4)))
        width = self.num_features = self.head_hidden_size = cast(nn.Linear, network.fc).in_features
        self.feature_info = [FeatureInfo(num_chs=64, reduction=4, module="stem.maxpool")]
        for i in range(4):
            channels = width // 2 ** (3 - i)
            self.feature_info.append(FeatureInfo(num_chs=channels, reduction=4 * 2**i, module=f"stages.{i}"))
        self.head = PooledLinearHead(width, num_classes, "avg")

    @property
    def timesteps(self) -> int:
        return self.encoder.timesteps if self.encoder is not None else 1

    def run_stages(self, x: Tensor, last: int) -> Iterator[Tensor]:
        self.check_image(x)
        x = self._encoded_stem(x, self.encoder) if self.encoder is not None else self.stem(x)
        yield x
        for stage in list(self.stages)[:last]:
            x = self.run_blocks(stage, x)
            yield x

    def mean_over_time(self, carried: Tensor) -> Tensor:
        return carried if self.encoder is None else averages.rate_decode(carried)

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
        self.stages = nn.Sequential(*list(self.stages)[:last])

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


def sew_resnet(
    spec: Spec, encoder: Encoder, neuron: NeuronFactory, num_classes: int, in_chans: int
) -> ResidualBaseline:
    """spikingjelly's SEW-ResNet (ADD) in multi-step mode.

    The linear head commutes with the mean over T, so averaging the features gives the averaged outputs.
    """
    from spikingjelly.activation_based import functional
    from spikingjelly.activation_based.model import sew_resnet as sew

    network = getattr(sew, f"sew_{spec['network']}")(cnf="ADD", spiking_neuron=lambda **_: neuron())
    model = ResidualBaseline(spec, network, "sn1", encoder, num_classes, in_chans)
    functional.set_step_mode(model, "m")
    return model
