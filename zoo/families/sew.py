"""The family `sew`: spikingjelly's SEW-ResNet, the image encoded once, outputs averaged over T."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, final

from zoo.contracts.family import About, BuildRequest, GrammarFamily
from zoo.errors import OptionError
from zoo.families.ann import BASELINE_NETWORKS
from zoo.names import ChoicePart, ComponentPart, Grammar, Value

if TYPE_CHECKING:
    from zoo.contracts.classifier import ImageClassifier
    from zoo.contracts.encoder import Encoder


@final
class SewFamily(GrammarFamily):
    """`sew_resnet18_phase[_neuron]` (arXiv:2102.04159), ADD."""

    api_version = 1
    grammars = (
        Grammar(
            (
                ChoicePart("network", BASELINE_NETWORKS),
                ComponentPart("encoder"),
                ComponentPart("neuron", default="if"),
            )
        ),
    )

    def about(self, fields: Mapping[str, Value], timesteps: int) -> About:
        return About(
            f"A spiking image classifier, the SEW-`{fields['network']}` of "
            "[spikingjelly](https://pypi.org/project/spikingjelly) (arXiv:2102.04159): it encodes the image once "
            f"(`{fields['encoder']}`), runs spiking neurons (`{fields['neuron']}`) over {timesteps} timesteps, and "
            "averages."
        )

    def control(self, fields: Mapping[str, Value]) -> str:
        return f"ann_{fields['network']}"

    @property
    def options(self) -> frozenset[str]:
        return frozenset({"timesteps"})

    def build(self, request: BuildRequest) -> ImageClassifier:
        from zoo.families.residual_baselines import sew_resnet

        spec = request.spec
        if request.options and "timesteps" not in request.components.load("encoder", str(spec["encoder"])).options:
            raise OptionError(f"{spec}: encoder {spec['encoder']!r} has no option 'timesteps'; its T is fixed")
        if request.options and "timesteps" in spec.options.get("encoder", {}):
            raise OptionError(f"{spec}: timesteps and encoder_options say T twice; leave one out")
        encoder: Encoder = request.component("encoder")(**request.options)
        neuron = request.component("neuron")
        return sew_resnet(spec, encoder, neuron, request.num_classes, request.in_chans)
