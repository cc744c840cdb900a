"""create_model: from a name to a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zoo.errors import CompositionError, ModelNameError, OptionError, UnknownComponentError, suggest
from zoo.names import Spec, check_characters, shorten, split_tag
from zoo.registry import Registry, default_registry

if TYPE_CHECKING:
    import torch

    from zoo.contracts.modules import ImageClassifier

DEFAULT_CLASSES = 1000
MAX_CLASSES = 1_000_000
MAX_CHANNELS = 4096


def parse_name(name: str, registry: Registry | None = None) -> Spec:
    """The spec of a model name such as `has8_resnet_b32_m2_d4_fourier_bpd.cifar10`.

    Raises:
        ModelNameError: (a ValueError) naming the part that is wrong and the nearest valid ones.
    """
    registry = registry or default_registry()
    check_characters(name)
    variant, tag = split_tag(name)
    family_name, _, remainder = variant.partition("_")
    families = registry.plain_names("family")
    if family_name not in registry.names("family"):
        if "/" in name or "\\" in name:
            raise ModelNameError(f"{shorten(name)} is no model name")
        raise UnknownComponentError(
            f"unknown family {shorten(family_name)}{suggest(family_name, families)} (in {shorten(name)})"
        )
    family = registry.load("family", family_name)()
    try:
        fields = family.parse(remainder, registry.known)
    except ModelNameError as error:
        raise type(error)(f"{error} (in {shorten(name, 120)})") from None
    return Spec(family_name, fields, f"{family_name}_{family.format(dict(fields))}", tag)


def check_count(what: str, value: int, lowest: int, highest: int) -> int:
    """`value`, where it is an integer in range; raises `OptionError` or `CompositionError`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise OptionError(f"{what} must be an integer from {lowest} to {highest}, not {value!r}")
    if not lowest <= value <= highest:
        raise CompositionError(f"{what}={value} is out of range; valid: {lowest} to {highest}")
    return value


def build_model(
    spec: Spec,
    num_classes: int,
    in_chans: int = 3,
    options: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
) -> ImageClassifier:
    """The freshly initialised network of a spec; see `create_model` for the arguments."""
    registry = registry or default_registry()
    family = registry.load("family", spec.family)()
    unknown = sorted(set(options or {}) - family.options)
    if unknown:
        valid = sorted(family.options | {"pretrained", "num_classes", "in_chans", "device", "dtype"})
        raise OptionError(f"{spec} has no option {unknown[0]!r}{suggest(unknown[0], valid)}")
    check_count("num_classes", num_classes, 0, MAX_CLASSES)
    check_count("in_chans", in_chans, 1, MAX_CHANNELS)
    model: ImageClassifier = family.build(spec, registry, num_classes, in_chans, options or {})
    return model


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
    import torch

    spec = parse_name(name, registry)
    if not isinstance(pretrained, bool):
        raise OptionError(f"pretrained must be True or False, not {pretrained!r}; choose weights by tag: {spec}.tag")
    weight = None
    if pretrained or spec.tag:
        from zoo.catalog import default_catalog

        weight = default_catalog().weight(spec)
    classes = num_classes if num_classes is not None else weight.num_classes if weight else DEFAULT_CLASSES
    with torch.device(device if device is not None else torch.get_default_device()):
        model = build_model(spec, classes, in_chans, options, registry)
    if dtype is not None:
        model = model.to(dtype=dtype)
    if weight is not None:
        from zoo.weights import describe, load_weight

        model.spec = weight.spec_of(spec)
        model.pretrained_cfg = describe(model, weight)
        if pretrained:
            load_weight(model, weight)
    return model


