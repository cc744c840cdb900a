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

from zoo.backbones.layers import GuardedConv2d
from zoo.catalog import WeightRecord, default_catalog
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.decoder import Decoder
from zoo.contracts.encoder import Encoder
from zoo.contracts.neuron import Neuron
from zoo.errors import ComponentError, ModelNameError, OptionError, WeightError
from zoo.factory import DEFAULT_CHANNELS, DEFAULT_CLASSES, open_model
from zoo.families.paired import PixelsLast
from zoo.hub.read import Hub
from zoo.names import HubRepository, parse_reference, plain_name
from zoo.registry import parse_name
from zoo.timm import has8_zoo
from zoo.weights import (
    CONFIG,
    MAX_CONFIG_BYTES,
    MODEL,
    describe_layers,
    describe_untrained,
    describe_weight,
    load,
    parse_weight,
    read_plain_file,
)

_NOT_TRACED = (Encoder, Decoder, Neuron, GuardedConv2d, StepModule, PixelsLast)
"""Their forward asks for shapes and modes, and loops over time: torch.fx takes each as one operation."""
_SOURCES = ("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename")
"""Keys of a pretrained_cfg that say where weights lie."""


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
    """Make every name of the catalog a model of timm; raises `ComponentError`."""
    for module in _NOT_TRACED:
        register_notrace_module(module)
    _register([name for name in default_catalog().names if ":" not in name])


def _register(variants: Sequence[str]) -> None:
    entries = {name: timm.model_entrypoint(name).__module__ for name in variants if timm.is_model(name)}
    for variant, module in entries.items():
        if module != has8_zoo.__name__:
            raise ComponentError(f"timm has a model {variant!r} of {module} already, which the zoo does not replace")
    cfgs: dict[str, PretrainedCfg] = {}
    for variant in dict.fromkeys(variants):
        if variant in entries:
            continue
        records = default_catalog().weights.get(variant, [])
        untrained = PretrainedCfg(**describe_untrained(DEFAULT_CLASSES, DEFAULT_CHANNELS))
        cfgs |= {record.name: _weight_cfg(record) for record in records} or {variant: untrained}
    has8_zoo.default_cfgs |= generate_default_cfgs(cfgs)
    for variant in dict.fromkeys(name.partition(".")[0] for name in cfgs):
        entry = _make_entry(variant)
        setattr(has8_zoo, variant, entry)
        register_model(entry)


def _weight_cfg(record: WeightRecord) -> PretrainedCfg:
    """Describe a listed weight to timm; a Hub repository is named at its commit."""
    hub = record.published or (str(record.location) if isinstance(record.location, HubRepository) else None)
    file = None if isinstance(record.location, HubRepository) else str(record.location)
    places = {"file": file, "hf_hub_id": hub and hub.removeprefix("hf-hub:")}
    cfg = describe_untrained(record.num_classes, record.in_chans) | describe_weight(record) | places
    return PretrainedCfg(**cfg | {"label_names": record.labels})


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
    **options: Any,
) -> nn.Module:
    """Build a network of the zoo as timm does, or its feature maps alone.

    Args:
        variant: a name that timm knows by `register_models`.
        pretrained: load the weights that `pretrained_cfg` means.
        pretrained_cfg: a tag, or a cfg; None for the variant's first weight.
        pretrained_cfg_overlay: entries that replace some of it.
        pretrained_model_args: what timm has read of a stored model.
        cache_dir: folder for downloads; None for HF_HOME's.
        num_classes, in_chans: as for `zoo.create_model`; None for the cfg's.
        global_pool: 'avg', or '' with 0 classes for the unpooled map.
        drop_rate: 0; there is no dropout.
        features_only: return a module that gives the feature maps (N, C_i, H_i, W_i) of some levels.
        out_indices: these levels, as for `forward_intermediates`; None for all.
        feature_cls: 'getter' alone; timm's other ways would return (T, N, …) of spiking layers.
        **options: `device`, `dtype`, and those of the family, such as `timesteps` of `sew`.

    Raises:
        OptionError: (TypeError) an unknown option, or a value that the network does not have.
        InputError: (ValueError) `global_pool` or `out_indices` out of range.
        ModelNameError: (ValueError) no such weight.
        Others as `zoo.create_model` does.
    """
    if drop_rate:
        raise OptionError(f"{variant} has no dropout; drop_rate must be 0, not {drop_rate!r}")
    if feature_cls != "getter":
        raise OptionError(f"feature_cls={feature_cls!r} is not available; valid: 'getter'")
    if isinstance(pretrained_cfg, str):
        default_catalog().weight(parse_name(variant).tagged(pretrained_cfg))  # raises the error that lists the tags
    cfg: PretrainedCfg = resolve_pretrained_cfg(variant, pretrained_cfg, pretrained_cfg_overlay)
    classes = cfg.num_classes if num_classes is None else num_classes
    channels = cfg.input_size[0] if in_chans is None else in_chans

    def create(name: str, trained: bool) -> ImageClassifier:
        opened = open_model(name, required=trained, cache_dir=cache_dir)
        return opened.build(trained, classes, channels, **options)

    model = _create_pretrained(variant, cfg, Hub(cache_dir=cache_dir), create) if pretrained else create(variant, False)
    if global_pool != "avg":
        model.reset_classifier(model.num_classes, global_pool)
    reduction, sides = model.feature_info[-1]["reduction"], cfg.input_size[1:]
    divides = not any(side % reduction for side in sides)
    pool_size = tuple(side // reduction for side in sides) if divides else None
    features: dict[str, Any] = {}
    if features_only:
        features = {"features_only": True, "out_indices": tuple(model.levels(out_indices)), "feature_cls": feature_cls}
    return build_model_with_cfg(
        lambda **_: model,
        variant,
        False,  # the weights are there
        pretrained_cfg=replace(cfg, state_dict=None, pool_size=pool_size, **describe_layers(model)),
        pretrained_model_args=pretrained_model_args,
        in_chans=model.in_chans,
        num_classes=model.num_classes,
        **features,
    )


def _create_pretrained(
    variant: str, cfg: PretrainedCfg, hub: Hub, create: Callable[[str, bool], ImageClassifier]
) -> ImageClassifier:
    """Build the network with the weights that a pretrained_cfg means.

    Those of the catalog and of what `zoo publish` made are verified by their sha256. What timm saved has none: from the
    Hub it is what the Hub's own index says, from a folder or file whatever lies there, and every key must match.

    Raises:
        OptionError: the cfg names a URL or another file than model.safetensors, which are not read.
    """
    if cfg.url or cfg.hf_hub_filename:
        raise OptionError(
            f"{variant}: pretrained_cfg names {cfg.url or cfg.hf_hub_filename!r}; weights are read from the catalog, "
            f"from {MODEL} of a repository (hf_hub_id), or from a safetensors file (file)"
        )
    sources = {key: getattr(cfg, key) for key in _SOURCES}
    for record in default_catalog().weights.get(variant, []):
        if record.tag == cfg.tag and sources == {key: getattr(_weight_cfg(record), key) for key in _SOURCES}:
            return create(record.name, True)
    if not any(sources.values()):
        return create(variant, True)
    if cfg.state_dict is not None:
        return _load(create(variant, False), cfg, cfg.state_dict, "the given state_dict")
    if cfg.source == "local-dir":
        folder = Path(str(cfg.file))
        if _is_published((folder / CONFIG).read_bytes(), str(folder)):  # timm has just read it
            return _check_architecture(create(f"local-dir:{folder}", True), variant)
        if not (folder / MODEL).is_file():
            raise WeightError(f"{folder} holds no {MODEL}; save it with save_for_hf(…, safe_serialization=True)")
        return _load(create(variant, False), cfg, read_plain_file(folder / MODEL), str(folder / MODEL))
    if cfg.file and cfg.source != "hf-hub" and not (cfg.hf_hub_id and str(cfg.file).startswith("package:")):
        return _load(create(variant, False), cfg, read_plain_file(cfg.file), str(cfg.file))
    repository = parse_reference(f"hf-hub:{cfg.hf_hub_id}")
    assert isinstance(repository, HubRepository)
    pinned = hub.pin(repository)
    if _is_published(hub.fetch(pinned, CONFIG, MAX_CONFIG_BYTES), str(pinned)):
        return _check_architecture(create(str(pinned), True), variant)
    model = create(variant, False)
    most = 16 * sum(tensor.numel() for tensor in model.state_dict().values()) + (1 << 20)  # in double precision
    return _load(model, cfg, parse_weight(hub.fetch(pinned, MODEL, most), str(pinned)), str(pinned))


def _is_published(config: bytes, place: str) -> bool:
    """Tell a config.json of `zoo publish` from timm's; raises `WeightError` if it is not JSON."""
    try:
        content = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise WeightError(f"{place}: {CONFIG} is not JSON ({error})") from error
    return isinstance(content, dict) and "zoo" in content


def _check_architecture(model: ImageClassifier, variant: str) -> ImageClassifier:
    if model.spec.plain_text != plain_name(variant):
        raise WeightError(f"{CONFIG} names the architecture {variant}, but the weights are those of {model.spec}")
    return model


def _load(model: ImageClassifier, cfg: PretrainedCfg, state: Mapping[str, Any], place: str) -> ImageClassifier:
    load(model, state, place, cfg.num_classes, cfg.input_size[0])
    return model
