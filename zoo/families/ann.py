"""The family `ann`: torchvision's ResNets, and the control without spikes of the hybrid's own blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, final

from zoo.contracts.family import WITHOUT_SPIKES, About, BuildRequest, GrammarFamily
from zoo.errors import OptionError, check_count
from zoo.families.has8 import CITATION, PAPER, SIZE_PARTS, build_paired, check_width
from zoo.names import ChoicePart, Grammar, Value

if TYPE_CHECKING:
    from zoo.contracts.classifier import ImageClassifier

BASELINE_NETWORKS = ("resnet18", "resnet34", "resnet50")
MAX_LEVELS = 255


@final
class AnnFamily(GrammarFamily):
    """`ann_resnet18` and its like, or `ann_resnet_b32_m2_d4`.

    The latter's option `levels` quantises every activation of a block: see `zoo.families.thresholds`.
    """

    api_version = 1
    grammars = (Grammar((ChoicePart("network", BASELINE_NETWORKS),)), Grammar(SIZE_PARTS))

    def check(self, fields: Mapping[str, Value]) -> None:
        check_width(fields)

    def about(self, fields: Mapping[str, Value], timesteps: int) -> About:
        if "network" in fields:
            return About(
                f"{WITHOUT_SPIKES}, `{fields['network']}` of [torchvision](https://pypi.org/project/torchvision)."
            )
        return About(f"{WITHOUT_SPIKES}.", PAPER, CITATION)

    @property
    def options(self) -> frozenset[str]:
        return frozenset({"levels"})

    def build(self, request: BuildRequest) -> ImageClassifier:
        levels = request.options.get("levels")
        if levels is not None:
            check_count("levels", levels, 1, MAX_LEVELS)
        if request.spec.get("network"):
            from torchvision.models import get_model

            from zoo.families.residual_baselines import ResidualBaseline

            if levels is not None:
                raise OptionError("torchvision's own network has no option 'levels'")
            network = get_model(str(request.spec["network"]), weights=None)
            return ResidualBaseline(request.spec, network, "relu", None, request.num_classes, request.in_chans)
        from zoo.families.paired import Pairing
        from zoo.families.thresholds import QuantisedReLU, replace_activations

        model = build_paired(request, Pairing(analog=True))
        if levels is not None:
            replace_activations(model.get_submodule("stages"), lambda: QuantisedReLU(levels))
        return model
