"""timm's create_model for one name of the zoo: options, weights, and the wrapping for features."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from timm.models import PretrainedCfg, build_model_with_cfg, resolve_pretrained_cfg
from torch import nn

from zoo.catalog import default_catalog
from zoo.contracts.classifier import ImageClassifier
from zoo.errors import OptionError, suggest
from zoo.registry import default_registry, parse_name
from zoo.timm.pretrained import Order, create_pretrained
from zoo.weights import describe_layers

FEATURE_CLASSES = ("getter", "list", "dict", "hook", "fx")


def make_entry(variant: str, module: str) -> Callable[..., nn.Module]:
    """What timm calls to build `variant`; it belongs to `module`, where timm looks for its default_cfgs."""

    def entry(pretrained: bool = False, **keywords: Any) -> nn.Module:
        return build(variant, pretrained, **keywords)

    entry.__name__ = entry.__qualname__ = variant
    entry.__module__ = module
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
    feature_cls: str | type[nn.Module] = "getter",
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **options: Any,
) -> nn.Module:
    """The network of a name as timm builds it, with `pretrained_cfg`, or its feature maps alone.

    Args:
        variant: a name that timm knows by `register_models`.
        pretrained: load the weights that `pretrained_cfg` means.
        pretrained_cfg: a tag, or a cfg; None for the variant's first weight.
        pretrained_cfg_overlay: entries that replace some of it.
        pretrained_model_args: what timm has read of a stored model.
        cache_dir: where downloads are kept; None for HF_HOME's.
        num_classes, in_chans: as for `zoo.create_model`; None for the cfg's.
        global_pool: 'avg', or '' with 0 classes for the unpooled map.
        drop_rate: 0; there is no dropout.
        features_only: a module that returns the feature maps (N, C_i, H_i, W_i) of some levels.
        out_indices: which levels, as for `forward_intermediates`; None for all.
        feature_cls: how they are taken: 'getter' calls `forward_intermediates`; 'list', 'dict', 'hook' and 'fx' are
            timm's ways to take a network apart.
        device, dtype: of the parameters.
        **options: of the family; `timesteps` of `sew`.

    Raises:
        OptionError: (TypeError) an unknown option, or a value that the network does not have.
        InputError: (ValueError) `global_pool` or `out_indices` out of range.
        ModelNameError: (ValueError) no such weight.
        Others as `zoo.create_model` does.
    """
    _check_options(variant, options, drop_rate, feature_cls)
    cfg = _resolve(variant, pretrained_cfg, pretrained_cfg_overlay)
    order = Order(
        variant,
        cfg.num_classes if num_classes is None else num_classes,
        cfg.input_size[0] if in_chans is None else in_chans,
        cache_dir,
        {"device": device, "dtype": dtype, **options},
    )
    model = create_pretrained(order, cfg) if pretrained else order.build(variant, pretrained=False)
    if global_pool != "avg":
        model.reset_classifier(model.num_classes, global_pool)
    cfg = replace(cfg, state_dict=None, pool_size=_pool_size(model, cfg.input_size), **describe_layers(model))
    features: dict[str, Any] = {}
    if features_only:
        _check_feature_class(model, feature_cls)
        levels = model.levels(out_indices)
        features = {"features_only": True, "out_indices": tuple(levels), "feature_cls": feature_cls}
    return build_model_with_cfg(
        lambda **_: model,
        variant,
        False,  # the weights are there
        pretrained_cfg=cfg,
        feature_cfg={"flatten_sequential": True},
        pretrained_model_args=pretrained_model_args,
        in_chans=model.in_chans,
        num_classes=model.num_classes,
        **features,
    )


def _check_options(
    variant: str, options: Mapping[str, Any], drop_rate: float, feature_cls: str | type[nn.Module]
) -> None:
    known = default_registry().load("family", variant.partition("_")[0])().options
    unknown = sorted(set(options) - known)
    if unknown:
        raise OptionError(f"{variant} has no option {unknown[0]!r}{suggest(unknown[0], known | _keywords())}")
    if drop_rate:
        raise OptionError(f"{variant} has no dropout; drop_rate must be 0, not {drop_rate!r}")
    if isinstance(feature_cls, str) and feature_cls not in FEATURE_CLASSES:
        raise OptionError(f"unknown feature_cls {feature_cls!r}{suggest(feature_cls, FEATURE_CLASSES)}")


def _keywords() -> frozenset[str]:
    """What `build` takes from a user by name, beside the options of families."""
    return frozenset(inspect.signature(build).parameters) - {"variant", "pretrained_model_args", "options"}


def _resolve(
    variant: str, cfg: str | Mapping[str, Any] | PretrainedCfg | None, overlay: Mapping[str, Any] | None
) -> PretrainedCfg:
    if isinstance(cfg, str):
        default_catalog().weight(parse_name(variant).tagged(cfg))  # says which tags there are
    pretrained_cfg: PretrainedCfg = resolve_pretrained_cfg(variant, cfg, overlay)
    return pretrained_cfg


def _pool_size(model: ImageClassifier, input_size: Sequence[int]) -> tuple[int, ...] | None:
    """Pixels of the last feature map; None where the image does not divide evenly, and backbones differ."""
    reduction = model.feature_info[-1]["reduction"]
    sides = input_size[1:]
    return None if any(side % reduction for side in sides) else tuple(side // reduction for side in sides)


def _check_feature_class(model: ImageClassifier, feature_cls: str | type[nn.Module]) -> None:
    """Raise `OptionError` where the modules to be taken out carry (T, N, …), not feature maps."""
    kind = feature_cls if isinstance(feature_cls, str) else feature_cls.__name__
    spiking = tuple(f"{name}." for name in model.spiking_module_names)
    if "getter" not in kind.lower() and any(f"{info['module']}.".startswith(spiking) for info in model.feature_info):
        raise OptionError(
            f"{model.spec} runs {model.timesteps} timesteps from end to end, and feature_cls={kind!r} would return all "
            "of them; leave it out, and their mean comes back"
        )
