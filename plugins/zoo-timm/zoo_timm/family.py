"""The family `timm`: a convolutional network of timm by its name there, `timm_resnet18`, and timm's weights of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, final

from zoo.commands import missing_extra
from zoo.contracts import WITHOUT_SPIKES, About, BuildRequest, CheckpointFacts, Family, HubFile, PublishedWeights
from zoo.errors import ModelNameError, UnknownComponentError, shorten, suggest
from zoo.names import ComponentNames, Value

if TYPE_CHECKING:
    from zoo.contracts import ImageClassifier

BRIDGE = "has8_zoo"
"""The module of models that `import zoo.timm` gives timm."""
FILE = "model.safetensors"
_INTERPOLATIONS = ("bilinear", "bicubic", "lanczos")


def import_timm(needed_by: str = "the family timm") -> Any:
    """Import timm, an optional dependency; raises `MissingExtraError`, which names what it is `needed_by`."""
    try:
        import timm
    except ModuleNotFoundError as error:
        raise missing_extra(error, needed_by, "timm") from error
    return timm


@final
class TimmFamily(Family):
    """`timm_` and timm's name up to its dot. Only timm knows its names, so it is imported to parse one."""

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
            near = suggest(remainder, theirs).partition("; valid: ")[0]  # the whole list would be too long
            raise UnknownComponentError(f"timm has no model {shorten(remainder)}{near or '; see timm.list_models()'}")
        return (("network", remainder),)

    def format(self, fields: Mapping[str, Value]) -> str:
        return str(fields["network"])

    def about(self, fields: Mapping[str, Value], timesteps: int) -> About:
        return About(f"{WITHOUT_SPIKES}, `{fields['network']}` of [timm](https://pypi.org/project/timm).")

    def published(self, fields: Mapping[str, Value], tag: str | None) -> PublishedWeights:
        network = str(fields["network"])
        timm = import_timm()
        known = timm.models.get_arch_pretrained_cfgs(network)
        tags = [name.partition(".")[2] for name, cfg in known.items() if cfg.has_weights]
        if not tags or (tag is not None and tag not in tags):
            told = (
                f"{suggest(str(tag), tags)} (tags: {', '.join(tags)})"
                if tags
                else "; `pretrained=False` builds it untrained"
            )
            raise ModelNameError(f"timm has no weights{'' if tag is None else f' {tag!r}'} of {network}{told}")
        cfg = timm.get_pretrained_cfg(f"{network}.{tag}" if tag else network)
        unlike = cfg.crop_mode != "center" or cfg.interpolation not in _INTERPOLATIONS or cfg.label_offset
        if not cfg.hf_hub_id or cfg.hf_hub_filename or unlike:
            raise ModelNameError(
                f"{network}.{cfg.tag} is not a {FILE} on the Hub for images cropped at the center, resized by one of "
                f"{', '.join(_INTERPOLATIONS)}, with labels from 0; take it from timm itself"
            )
        file = HubFile(cfg.hf_hub_id, FILE)
        return PublishedWeights(cfg.tag, network, file, "net.", cfg.num_classes, cfg.input_size[0], stated_by_timm(cfg))

    def build(self, request: BuildRequest) -> ImageClassifier:
        from zoo_timm.classifier import timm_classifier

        return timm_classifier(request.spec, request.num_classes, request.in_chans)


def stated_by_timm(cfg: Any) -> CheckpointFacts:
    """Return what a pretrained_cfg of timm states of its weights: licence, classes, preparation of images."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    dataset = infer_imagenet_subset(cfg.to_dict()) or ""
    labels: tuple[str, ...] = ()
    if dataset:
        info = ImageNetInfo(dataset)
        titles = info.label_descriptions()
        shared = Counter(titles)
        pairs = zip(titles, info.label_names(), strict=True)
        labels = tuple(f"{title} ({name})" if shared[title] > 1 else title for title, name in pairs)
    return CheckpointFacts(
        license=cfg.license or "",
        labels=labels,
        dataset=dataset,
        image_size=cfg.input_size[-1],
        interpolation=cfg.interpolation,
        crop_pct=cfg.crop_pct,
        mean=tuple(cfg.mean),
        std=tuple(cfg.std),
    )
