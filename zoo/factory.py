"""create_model: a composed network, with its published weights where they are asked for."""

from __future__ import annotations

from typing import Any

import torch

from zoo.catalog import default_catalog
from zoo.composition import DEFAULT_CLASSES, build_model, parse_name
from zoo.contracts.modules import ImageClassifier
from zoo.errors import OptionError
from zoo.registry import Registry
from zoo.weights import describe, load_weight


def create_model(
    name: str,
    pretrained: bool = False,
    num_classes: int | None = None,
    in_chans: int = 3,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    registry: Registry | None = None,
    **options: Any,
) -> ImageClassifier:
    """Compose a model by name.

    Args:
        name: `family_…[.tag]`, for example `has8_resnet_b32_m2_d4_fourier_bpd`.
        pretrained: load published weights: those of the tag, or the variant's first.
        num_classes: logits; None for the weight's own, or 1000 without weights; 0 for none. Another number than
            the weight's starts with a new last layer.
        in_chans: image channels. Another number than the weight's adapts the first convolutions.
        device: where to build ('meta' allocates nothing).
        dtype: parameters' type.
        registry: components to build from; the installed ones by default.
        **options: of the family; `timesteps` of `sew`.

    Returns:
        A model from pixels in [0, 1], (N, in_chans, H, W), to logits (N, num_classes).

    Raises:
        ModelNameError: (ValueError) the name or tag is wrong; the message names the nearest valid ones.
        CompositionError: (ValueError) the components do not fit together.
        OptionError: (TypeError) an unknown option.
        ComponentError: a plugin that the name needs is broken.
        WeightError: the weights are missing or altered.
    """
    spec = parse_name(name, registry)
    if not isinstance(pretrained, bool):
        raise OptionError(f"pretrained must be True or False, not {pretrained!r}; choose weights by tag: {spec}.tag")
    weight = default_catalog().weight(spec) if pretrained or spec.tag else None
    classes = num_classes if num_classes is not None else weight.num_classes if weight else DEFAULT_CLASSES
    with torch.device(device if device is not None else torch.get_default_device()):
        model = build_model(spec, classes, in_chans, options, registry)
    if dtype is not None:
        model = model.to(dtype=dtype)
    model.pretrained_cfg = describe(model, weight)
    if weight is not None:
        model.spec = weight.spec_of(spec)
        if pretrained:
            load_weight(model, weight)
    return model
