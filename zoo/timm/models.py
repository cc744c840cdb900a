"""Register names of the zoo with timm, and build what `timm.create_model` asks for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import timm
from spikingjelly.activation_based.base import StepModule
from timm.models import (
    PretrainedCfg,
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
    register_notrace_module,
    resolve_pretrained_cfg,
)
from torch import nn

from zoo.catalog.files import default_catalog
from zoo.catalog.records import WeightRecord
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.contracts.neuron import Neuron
from zoo.cpu.conv import Conv2d
from zoo.errors import ComponentError, ModelNameError, OptionError, WeightError
from zoo.models.factory import Places, open_model
from zoo.names import HubRepository, parse_reference, plain_name
from zoo.registry.components import parse_name
from zoo.timm import has8_zoo
from zoo.weights.hub import Hub
from zoo.weights.load import CONFIG, MAX_CONFIG_BYTES, describe_layers
from zoo.weights.origin import NoRecord, Recorded

_NOT_TRACED = (Encoder, Decoder, Neuron, Conv2d, StepModule)
"""Their forward asks for shapes and modes, and loops over time: torch.fx takes each as one operation."""


def register_models(*names: str) -> list[str]:
    """Make composed names models of timm, as those of the catalog are; registering one again is harmless.

    Args:
        names: `family_…`; a tag is left out, since timm takes those that the catalog lists.

    Returns:
        The canonical names.

    Raises:
        ModelNameError: not the name of a model, or one with a colon, which timm cannot have.
        ComponentError: timm has another model of that name; nothing is registered then.
    """
    variants = [parse_name(name).text for name in names]
    for variant in variants:
        if ":" in variant:
            raise ModelNameError(f"timm has no names with a colon, such as {variant!r}; leave the distribution out")
    _register(variants)
    return variants


def register_catalog() -> None:
    """Make every name of the catalog a model of timm; raises as `register_models` does."""
    for module in _NOT_TRACED:
        register_notrace_module(module)
    _register([name for name in default_catalog().names if ":" not in name])


def _register(variants: Sequence[str]) -> None:
    known = {variant: timm.model_entrypoint(variant).__module__ for variant in variants if timm.is_model(variant)}
    for variant, module in known.items():
        if module != has8_zoo.__name__:
            raise ComponentError(f"timm has a model {variant!r} of {module} already, which the zoo does not replace")
    for variant in (name for name in dict.fromkeys(variants) if name not in known):
        records = default_catalog().weights.get(variant, [])
        untrained = PretrainedCfg(**NoRecord().describe())
        cfgs = {record.name: _weight_cfg(record) for record in records} or {variant: untrained}
        has8_zoo.default_cfgs |= generate_default_cfgs(cfgs)
        entry = _make_entry(variant)
        setattr(has8_zoo, variant, entry)
        register_model(entry)


def _weight_cfg(record: WeightRecord) -> PretrainedCfg:
    """Describe a listed weight to timm; a Hub repository is named at its commit."""
    hub = str(record.repository).removeprefix("hf-hub:") if record.repository else None
    file = None if hub and isinstance(record.location, HubRepository) else str(record.location)
    places = {"file": file, "hf_hub_id": hub}
    return PretrainedCfg(**Recorded(record, record.location).describe(), **places)


def _make_entry(variant: str) -> Callable[..., nn.Module]:
    """Make the function that timm calls; it belongs to the module in which timm looks for its default_cfgs."""

    def entry(pretrained: bool = False, **keywords: Any) -> nn.Module:
        return build(variant, pretrained, **keywords)

    entry.__name__ = entry.__qualname__ = variant
    entry.__module__ = has8_zoo.__name__
    entry.__doc__ = f"{variant}: {default_catalog().notes.get(variant) or 'a composed name'}."
    return entry


def build(
    variant: str,
    pretrained: bool = False,
    *,
    pretrained_cfg: str | Mapping[str, Any] | PretrainedCfg | None = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    pretrained_model_args: Mapping[str, Any] | None = None,
    cache_dir: Path | str | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    global_pool: str = "avg",
    drop_rate: float = 0.0,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    feature_cls: str = "getter",
    encoder_options: Mapping[str, Any] | None = None,
    decoder_options: Mapping[str, Any] | None = None,
    neuron_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> nn.Module:
    """Build a network of the zoo as timm does, or its feature maps alone, by the arguments that timm passes.

    Weights of the catalog and of what `zoo publish` made are read and verified by the zoo; all others, such as those of
    `timm.models.push_to_hf_hub`, by timm.

    Args:
        global_pool: 'avg', or '' with 0 classes for the unpooled map.
        drop_rate: 0; there is no dropout.
        feature_cls: 'getter' alone; timm's other ways would return (T, N, …) of spiking layers.
        **options: `device`, `dtype`, and those of the family, such as `timesteps` of `sew`.

    Raises:
        OptionError: (TypeError) an unknown option, or a value that the network does not have.
        InputError: (ValueError) `global_pool` or `out_indices` out of range.
        Others as `zoo.create_model` and timm do.
    """
    if drop_rate:
        raise OptionError(f"{variant} has no dropout; drop_rate must be 0, not {drop_rate!r}")
    if feature_cls != "getter":
        raise OptionError(f"feature_cls={feature_cls!r} is not available; valid: 'getter'")
    cfg: PretrainedCfg = resolve_pretrained_cfg(variant, pretrained_cfg, pretrained_cfg_overlay)
    classes = cfg.num_classes if num_classes is None else num_classes
    channels = cfg.input_size[0] if in_chans is None else in_chans
    own = _own_weights(variant, cfg, Hub(cache_dir=cache_dir)) if pretrained else None
    chosen = {"encoder": encoder_options, "decoder": decoder_options, "neuron": neuron_options}
    components = {kind: values or {} for kind, values in chosen.items()}
    opened = open_model(own or variant, Places(cache_dir=cache_dir), options=components)
    if opened.spec.plain_text != plain_name(variant):
        raise WeightError(f"{CONFIG} names the architecture {variant}, but the weights are those of {opened.spec}")
    model = opened.build(own is not None, classes, channels, **options)
    if global_pool != "avg":
        model.reset_classifier(model.num_classes, global_pool)
    pool_size = _pool_size(model.feature_info[-1]["reduction"], cfg.input_size[1:])
    features: dict[str, Any] = {}
    if features_only:
        features = {"features_only": True, "out_indices": tuple(model.levels(out_indices)), "feature_cls": feature_cls}
    return build_model_with_cfg(
        lambda **_: model,
        variant,
        pretrained and own is None,
        pretrained_cfg=replace(cfg, pool_size=pool_size, **describe_layers(model)),
        pretrained_model_args=pretrained_model_args,
        cache_dir=cache_dir,
        in_chans=model.in_chans,
        num_classes=model.num_classes,
        **features,
    )


def _pool_size(reduction: int, sides: Sequence[int]) -> tuple[int, ...] | None:
    """Size of the last feature map, as timm states it; None if the image is no multiple of it."""
    if any(side % reduction for side in sides):
        return None
    return tuple(side // reduction for side in sides)


def _own_weights(variant: str, cfg: PretrainedCfg, hub: Hub) -> str | None:
    """Return the name or reference of the zoo's own weights that a pretrained_cfg means; None for those of timm."""
    for record in default_catalog().weights.get(variant, []):
        listed = _weight_cfg(record)
        if all(getattr(cfg, key) == getattr(listed, key) for key in ("tag", "url", "file", "state_dict", "hf_hub_id")):
            return record.name
    if cfg.source == "local-dir":
        config = (Path(str(cfg.file)) / CONFIG).read_bytes()
        return f"local-dir:{cfg.file}" if "zoo" in json.loads(config) else None
    if cfg.source == "hf-hub":
        reference = parse_reference(f"hf-hub:{cfg.hf_hub_id}")
        assert isinstance(reference, HubRepository)
        pinned = hub.pin(reference)
        return str(pinned) if "zoo" in json.loads(hub.fetch(pinned, CONFIG, MAX_CONFIG_BYTES)) else None
    return None
