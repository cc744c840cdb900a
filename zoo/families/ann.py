"""The family `ann`: torchvision's ResNets, and the control without spikes of the hybrid's own blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, final

from zoo.contracts.family import WITHOUT_SPIKES, About, BuildRequest, GrammarFamily
from zoo.families.has8 import CITATION, PAPER, SIZE_PARTS, build_paired, check_width
from zoo.names import ChoicePart, Grammar, Value

if TYPE_CHECKING:
    from zoo.contracts.classifier import ImageClassifier

BASELINE_NETWORKS = ("resnet18", "resnet34", "resnet50")


@final
class AnnFamily(GrammarFamily):
    """`ann_resnet18` and its like, or `ann_resnet_b32_m2_d4`."""

    api_version = 1
    grammars = (Grammar((ChoicePart("network", BASELINE_NETWORKS),)), Grammar(SIZE_PARTS))

    def check(self, fields: Mapping[str, Value]) -> None:
        if "network" not in fields:
            check_width(fields)

    def about(self, fields: Mapping[str, Value], timesteps: int) -> About:
        if "network" in fields:
            return About(
                f"{WITHOUT_SPIKES}, `{fields['network']}` of [torchvision](https://pypi.org/project/torchvision)."
            )
        return About(f"{WITHOUT_SPIKES}.", PAPER, CITATION)

    def build(self, request: BuildRequest) -> ImageClassifier:
        if request.spec.get("network"):
            from zoo.families.residual_baselines import torchvision_resnet

            return torchvision_resnet(request.spec, request.num_classes, request.in_chans)
        from zoo.families.paired import Pairing

        return build_paired(request, Pairing(analog=True))
