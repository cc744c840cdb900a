"""What timm says of its own weights: where they lie, how images are prepared, what the classes are called."""

from __future__ import annotations

from collections import Counter
from typing import Any

from zoo.contracts.converter import HubFile, Stated
from zoo.contracts.family import PublishedWeights
from zoo.errors import ModelNameError, suggest
from zoo.families.timm_family import import_timm

FILE = "model.safetensors"
_INTERPOLATIONS = ("bilinear", "bicubic", "lanczos")


def published_by_timm(network: str, tag: str | None) -> PublishedWeights:
    """timm's weights of a network, as its pretrained_cfg states them.

    Args:
        network: timm's name without a tag.
        tag: of the weights; None for timm's default.

    Raises:
        ModelNameError: timm has none, or none of that tag, or none that the zoo can read or prepare images for.
    """
    timm = import_timm()
    cfgs = timm.models.get_arch_pretrained_cfgs(network)
    tags = [name.partition(".")[2] for name, cfg in cfgs.items() if cfg.has_weights]
    if not tags:
        raise ModelNameError(f"timm has no weights of {network}; pretrained=False builds it untrained")
    if tag is not None and tag not in tags:
        raise ModelNameError(f"timm has no weights {tag!r} of {network}{suggest(tag, tags)} (tags: {', '.join(tags)})")
    cfg = timm.get_pretrained_cfg(network if tag is None else f"{network}.{tag}")
    _check_readable(cfg)
    dataset, labels = classes_of(cfg)
    stated = Stated(
        license=cfg.license or "",
        labels=labels,
        dataset=dataset,
        image_size=cfg.input_size[-1],
        interpolation=cfg.interpolation,
        crop_pct=cfg.crop_pct,
        mean=tuple(cfg.mean),
        std=tuple(cfg.std),
    )
    file = HubFile(cfg.hf_hub_id, FILE)
    return PublishedWeights(cfg.tag, network, file, "net.", cfg.num_classes, cfg.input_size[0], stated)


def _check_readable(cfg: Any) -> None:
    """Raise `ModelNameError` for weights that are not on the Hub, or need a preparation that the zoo lacks."""
    name = f"{cfg.architecture}.{cfg.tag}"
    if not cfg.hf_hub_id or cfg.hf_hub_filename:
        raise ModelNameError(
            f"timm keeps {name} at {cfg.hf_hub_filename or cfg.url or 'no place'}, not as {FILE} on the Hub"
        )
    if cfg.crop_mode != "center" or cfg.interpolation not in _INTERPOLATIONS or cfg.label_offset:
        raise ModelNameError(
            f"{name} wants images cropped by {cfg.crop_mode!r} and resized by {cfg.interpolation!r}, and its labels "
            f"begin at {cfg.label_offset or 0}; valid: 'center', one of {', '.join(_INTERPOLATIONS)}, 0"
        )


def classes_of(cfg: Any) -> tuple[str, tuple[str, ...]]:
    """The data set that timm takes the classes for, and a name for each; of the two that share one, with their ids.

    Args:
        cfg: timm's pretrained_cfg.
    """
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(cfg.to_dict())
    if subset is None:
        return "", ()
    info = ImageNetInfo(subset)
    titles, names = info.label_descriptions(), info.label_names()
    shared = Counter(titles)
    pairs = zip(titles, names, strict=True)
    return subset, tuple(f"{title} ({name})" if shared[title] > 1 else title for title, name in pairs)
