"""The family `sew`: spiking networks that encode the image once and average over T."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, final

from zoo.contracts.family import About, BuildRequest, GrammarFamily
from zoo.errors import CompositionError, OptionError
from zoo.families.ann import BASELINE_NETWORKS
from zoo.families.has8 import CITATION, PAPER, SIZE_PARTS, check_width, load_backbone
from zoo.names import ChoicePart, ComponentPart, Grammar, Spec, Value

if TYPE_CHECKING:
    from zoo.contracts.classifier import ImageClassifier

RADIX = "radix"
"""The neuron that writes digits."""

CODING_PARTS = (ComponentPart("encoder"), ComponentPart("neuron", default="if"))


@final
class SewFamily(GrammarFamily):
    """`sew_resnet18_phase[_neuron]`, spikingjelly's SEW-ResNet (arXiv:2102.04159), ADD; or a backbone's own blocks.

    `sew_resnetsmall_b32_m2_d4_direct[_neuron]` are the blocks of `ann_resnetsmall_b32_m2_d4` with a neuron for every
    activation: see `zoo.families.encoded_once`.
    """

    api_version = 1
    grammars = (
        Grammar((ChoicePart("network", BASELINE_NETWORKS), *CODING_PARTS)),
        Grammar((*SIZE_PARTS, *CODING_PARTS)),
    )

    def check(self, fields: Mapping[str, Value]) -> None:
        check_width(fields)

    def about(self, fields: Mapping[str, Value], timesteps: int) -> About:
        encoder = fields["encoder"]
        begins = "takes frames" if encoder == "frames" else f"encodes the image once (`{encoder}`)"
        if "network" not in fields:
            return About(
                f"A spiking image classifier: it {begins}, runs the blocks of its "
                f"control with a spiking neuron (`{fields['neuron']}`) for every activation over {timesteps} "
                "timesteps, and averages.",
                PAPER,
                CITATION,
            )
        return About(
            f"A spiking image classifier, the SEW-`{fields['network']}` of "
            f"[spikingjelly](https://pypi.org/project/spikingjelly) (arXiv:2102.04159): it {begins}, "
            f"runs spiking neurons (`{fields['neuron']}`) over {timesteps} timesteps, and "
            "averages."
        )

    def control(self, fields: Mapping[str, Value]) -> str:
        return f"ann_{fields['network'] if 'network' in fields else Grammar(SIZE_PARTS).format(fields)}"

    def twin(self, spec: Spec) -> str | None:
        fields, neuron = dict(spec.fields), spec.options.get("neuron", {})
        unary = neuron.get("waits") is True and neuron.get("v_init") == 0.5 and neuron.get("v_threshold", 1.0) == 1.0
        waits = unary or fields["neuron"] == RADIX
        if "network" in fields or fields["encoder"] != "direct" or not waits:
            return None
        return self.control(fields)

    def twin_levels(self, spec: Spec, timesteps: int) -> int:
        if spec["neuron"] != RADIX:
            return timesteps
        return int(spec.options.get("neuron", {}).get("levels") or 2**timesteps - 1)

    @property
    def options(self) -> frozenset[str]:
        return frozenset({"timesteps"})

    def build(self, request: BuildRequest) -> ImageClassifier:
        spec = request.spec
        if request.options and "timesteps" not in request.components.load("encoder", str(spec["encoder"])).options:
            raise OptionError(f"encoder {spec['encoder']!r} has no option 'timesteps'; its T is fixed")
        if request.options and "timesteps" in spec.options.get("encoder", {}):
            raise OptionError("timesteps and encoder_options both give T; leave one out")
        from zoo.families.paired import reading, writes_digits

        encoder = request.component("encoder")(**request.options)
        neuron = reading(encoder, request.component("neuron"))
        if spec.get("network"):
            from zoo.families.residual_baselines import sew_resnet

            if writes_digits(neuron()):
                raise CompositionError(
                    f"spikingjelly's {spec['network']} adds spikes of two branches, and its neuron {spec['neuron']!r} "
                    "would write digits, whose sums are none; choose a backbone of the zoo, such as "
                    f"'sew_resnetsmall_b32_m2_d4_{spec['encoder']}_{spec['neuron']}', or the neuron 'if'"
                )
            return sew_resnet(spec, encoder, neuron, request.num_classes, request.in_chans)
        from zoo.families.encoded_once import EncodedOnceNetwork

        return EncodedOnceNetwork(spec, load_backbone(request), encoder, neuron, request.num_classes)
