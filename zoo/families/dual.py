"""The family `dual`: two analog branches in every block, the control of a hybrid with as many parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, final

from zoo.contracts.family import WITHOUT_SPIKES, About, BuildRequest, GrammarFamily
from zoo.families.has8 import SIZE_PARTS, build_paired, check_width, read_number
from zoo.names import Grammar, Value

if TYPE_CHECKING:
    from zoo.contracts.classifier import ImageClassifier


@final
class DualFamily(GrammarFamily):
    """`dual_resnet_b32_m2_d4`: what a hybrid gains by a second branch, whether it spikes or not.

    It has the hybrid's parameters, and two times its control's MACs where the hybrid of eight timesteps has nine. The
    option `gain` is as for `has8`: with 0 the network begins as its control.
    """

    api_version = 1
    grammars = (Grammar(SIZE_PARTS),)

    def check(self, fields: Mapping[str, Value]) -> None:
        check_width(fields)

    def about(self, fields: Mapping[str, Value], timesteps: int) -> About:
        return About(f"{WITHOUT_SPIKES}; every block adds up two analog branches of the same layers.")

    def control(self, fields: Mapping[str, Value]) -> str:
        return f"ann_{Grammar(SIZE_PARTS).format(fields)}"

    @property
    def options(self) -> frozenset[str]:
        return frozenset({"gain"})

    def build(self, request: BuildRequest) -> ImageClassifier:
        from zoo.families.paired import Pairing

        return build_paired(request, Pairing(analog=True, gain=read_number(request, "gain"), second=True))
