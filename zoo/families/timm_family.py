"""The family `timm`: a convolutional network of timm's by its name there, `timm_resnet18`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

from zoo.contracts.family import WITHOUT_SPIKES, About, BuildRequest, Family, PublishedWeights
from zoo.errors import UnknownComponentError, missing_extra, shorten, suggest
from zoo.names import ComponentNames, Value

if TYPE_CHECKING:
    from zoo.contracts.classifier import ImageClassifier

BRIDGE = "has8_zoo"
"""The module of models that `import zoo.timm` gives timm."""


def import_timm(needed_by: str = "the family timm") -> Any:
    """timm, an optional dependency; raises `MissingExtraError`, which names what it is `needed_by`."""
    try:
        import timm
    except ModuleNotFoundError as error:
        raise missing_extra(error, needed_by, "timm") from error
    return timm


@final
class TimmFamily(Family):
    """`timm_` and timm's name up to its dot. timm alone knows its names, so it is imported to read one."""

    api_version = 1
    named_by = MappingProxyType({"network": "timm"})
    examples = ("test_resnet",)

    def parse(self, remainder: str, known: ComponentNames) -> tuple[tuple[str, Value], ...]:
        timm = import_timm()
        ours = set(timm.list_models(module=BRIDGE))
        if remainder in ours:
            raise UnknownComponentError(f"{remainder!r} is the zoo's own; leave 'timm_' out")
        theirs = set(timm.list_models()) - ours
        if remainder not in theirs:
            raise UnknownComponentError(f"timm has no model {shorten(remainder)}{_near(remainder, theirs)}")
        return (("network", remainder),)

    def format(self, fields: Mapping[str, Value]) -> str:
        return str(fields["network"])

    def about(self, fields: Mapping[str, Value], timesteps: int) -> About:
        return About(f"{WITHOUT_SPIKES}, `{fields['network']}` of [timm](https://pypi.org/project/timm).")

    def published(self, fields: Mapping[str, Value], tag: str | None) -> PublishedWeights:
        from zoo.families.timm_weights import published_by_timm

        return published_by_timm(str(fields["network"]), tag)

    def build(self, request: BuildRequest) -> ImageClassifier:
        from zoo.families.timm_classifier import timm_classifier

        return timm_classifier(request.spec, request.num_classes, request.in_chans)


def _near(name: str, names: set[str]) -> str:
    """The nearest name; the whole list would be too long."""
    return suggest(name, names).partition("; valid: ")[0] or "; see timm.list_models()"
