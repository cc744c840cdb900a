"""The family `sew`: spikingjelly's SEW-ResNet, the image encoded once, outputs averaged over T."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, final

from zoo.contracts.family import Components, GrammarFamily
from zoo.errors import OptionError
from zoo.families.ann import BASELINE_NETWORKS
from zoo.names import ChoicePart, ComponentPart, Grammar, Spec

if TYPE_CHECKING:
    from zoo.contracts.modules import Encoder, ImageClassifier


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

    @property
    def options(self) -> frozenset[str]:
        return frozenset({"timesteps"})

    def build(
        self,
        spec: Spec,
        components: Components,
        num_classes: int,
        in_chans: int,
        options: Mapping[str, Any],
    ) -> ImageClassifier:
        from zoo.families.residual_baselines import sew_resnet

        encoder_class = components.load("encoder", str(spec["encoder"]))
        try:
            encoder: Encoder = encoder_class(**options)
        except TypeError as error:
            raise OptionError(f"{spec}: encoder {spec['encoder']!r} takes no such option: {error}") from error
        neuron = components.load("neuron", str(spec["neuron"]))
        return sew_resnet(spec, encoder, neuron, num_classes, in_chans)
