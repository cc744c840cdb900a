"""The family `sj`. Loads no torch until a network is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, final

from zoo.contracts import About, BuildRequest, GrammarFamily
from zoo.errors import check_count
from zoo.names import ChoicePart, Grammar, Value
from zoo_spikingjelly.published import PUBLISHED

if TYPE_CHECKING:
    from zoo.contracts import ImageClassifier

MAX_TIMESTEPS = 1024


@final
class SpikingjellyFamily(GrammarFamily):
    """`sj_spikformerti` and its like: a network as spikingjelly builds it, with its paper's neurons and T.

    The option `timesteps` sets another T.
    """

    api_version = 1
    grammars = (Grammar((ChoicePart("network", tuple(PUBLISHED)),)),)

    def about(self, fields: Mapping[str, Value], timesteps: int) -> About:
        paper = PUBLISHED[str(fields["network"])].paper
        return About(
            f"A spiking image classifier of {timesteps} timesteps, `{fields['network']}` of "
            "[spikingjelly](https://pypi.org/project/spikingjelly).",
            paper,
            f"The network's own paper, {paper}.",
        )

    def control(self, fields: Mapping[str, Value]) -> str | None:
        return PUBLISHED[str(fields["network"])].control

    @property
    def options(self) -> frozenset[str]:
        return frozenset({"timesteps"})

    def build(self, request: BuildRequest) -> ImageClassifier:
        from zoo_spikingjelly.classifier import SpikingjellyClassifier
        from zoo_spikingjelly.networks import make_parts

        network = PUBLISHED[str(request.spec["network"])]
        timesteps = check_count("timesteps", request.options.get("timesteps", network.timesteps), 1, MAX_TIMESTEPS)
        parts = make_parts(network, timesteps, request.in_chans)
        return SpikingjellyClassifier(request.spec, network, parts, timesteps, request.num_classes, request.in_chans)
