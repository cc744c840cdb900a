"""create_model: a composed network, with its published weights where they are asked for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.composition import DEFAULT_CLASSES, build_model
from zoo.contracts.modules import ImageClassifier
from zoo.errors import NewHeadWarning, OptionError
from zoo.registry import Registry
from zoo.sources import PackageFile
from zoo.weights import (
    Found,
    HubAccess,
    check_before_allocation,
    count_classes,
    describe,
    find_weight,
    load_state,
    load_weight,
    parse_weight,
    read_plain_file,
    read_weight,
)

DEFAULT_CHANNELS = 3


def create_model(
    name: str,
    pretrained: bool | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    *,
    checkpoint_path: Path | str | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    cache_dir: Path | str | None = None,
    endpoint: str | None = None,
    token: str | None = None,
    registry: Registry | None = None,
    **options: Any,
) -> ImageClassifier:
    """Compose a model by name, or rebuild a stored one.

    Args:
        name: `family_…[.tag]`, for example `has8_resnet_b32_m2_d4_fourier_bpd`; or what `zoo publish` made:
            `hf-hub:org/name@revision` with a 40-hex revision, or `local-dir:path`.
        pretrained: load published weights: those of the tag, or the variant's first. None: where the name asks for
            them, by a tag or as a repository or folder. False: the network that the weight is of, with as many classes
            and channels, but untrained; its name has no tag, and its `pretrained_cfg` does not claim the weight.
        num_classes: logits; None for the weight's own, or 1000 without weights; 0 for none. Another number than
            the weight's starts with a new last layer.
        in_chans: image channels; None for the weight's own, or 3. Another number than the weight's adapts the
            first convolutions.
        checkpoint_path: a safetensors file with all tensors of this very network, instead of published weights. With
            another `num_classes` than the file's the last layer is new and random, and a `NewHeadWarning` says so.
        device: where to build ('meta' allocates nothing).
        dtype: parameters' type.
        cache_dir: where downloads are kept; None for HF_HOME's.
        endpoint: of the Hub; None for HF_ENDPOINT, or huggingface.co.
        token: for private repositories; None for the one logged in with.
        registry: components to build from; the installed ones by default.
        **options: of the family; `timesteps` of `sew`.

    Returns:
        A model from pixels in [0, 1], (N, in_chans, H, W), to logits (N, num_classes).

    Raises:
        ModelNameError: (ValueError) the name, tag or reference is wrong; the message names the nearest valid ones.
        MissingPluginError: (ModelNameError) what is stored needs a distribution that is not installed.
        CompositionError: (ValueError) the components do not fit together.
        OptionError: (TypeError) an unknown option.
        ComponentError: a plugin that the name needs is broken.
        HubError: the Hub cannot be reached, or refuses.
        WeightError: the weights are missing, altered, or those of another network.
    """
    if pretrained is not None and not isinstance(pretrained, bool):
        raise OptionError(f"pretrained must be True or False, not {pretrained!r}; choose weights by tag: name.tag")
    if checkpoint_path is not None and pretrained:
        raise OptionError("pretrained=True and checkpoint_path name two weights; leave one out")
    access = HubAccess(endpoint, cache_dir, token)
    found = find_weight(name, access, registry, required=bool(pretrained))
    weight = None if pretrained is False else found.weight  # what the name asks for, by a tag or as a reference
    if checkpoint_path is not None and weight is not None:
        raise OptionError(
            f"{name} and checkpoint_path name two weights; leave checkpoint_path out, or name the model without a "
            f"weight: {found.spec.untagged()}"
        )
    state, classes, channels = _read_state(found, pretrained, checkpoint_path, access, registry)
    with nullcontext() if device is None else torch.device(device):  # that one costs a tenth of all the rest
        model = build_model(
            found.spec.untagged() if weight is None else found.spec,
            classes if num_classes is None else num_classes,
            channels if in_chans is None else in_chans,
            options,
            registry,
        )
    if dtype is not None:
        model = model.to(dtype=dtype)
    model.pretrained_cfg = describe(model, weight, found.source)
    if state is not None and checkpoint_path is not None:
        load_state(model, state, str(checkpoint_path), classes, channels)
        _warn_of_new_head(model, str(checkpoint_path), classes)
    elif state is not None and weight is not None:
        load_weight(model, weight, state)
    return model


def _warn_of_new_head(model: ImageClassifier, origin: str, classes: int) -> None:
    if model.num_classes not in (0, classes):
        warnings.warn(
            f"{origin} has a last layer for {classes} classes; the one for {model.num_classes} is new and random, and "
            "differs on every call: train it, or leave num_classes out",
            NewHeadWarning,
            stacklevel=3,
        )


_Tensors = Mapping[str, Tensor]


def _read_state(
    found: Found,
    pretrained: bool | None,
    checkpoint_path: Path | str | None,
    access: HubAccess,
    registry: Registry | None,
) -> tuple[_Tensors | None, int, int]:
    """The tensors to load, if any, with the classes and image channels that go with what was found."""
    if checkpoint_path is not None:
        tensors = read_plain_file(checkpoint_path)
        return tensors, *count_classes(found.spec, tensors, str(checkpoint_path), registry)
    weight, source = found.weight, found.source
    if weight is None or source is None:
        return None, DEFAULT_CLASSES, DEFAULT_CHANNELS
    state = None
    if found.referenced or pretrained is not False:
        state = parse_weight(read_weight(weight, source, access), weight.name)
    if state is not None and not isinstance(source, PackageFile):  # from outside: it may ask for more than it fills
        check_before_allocation(found.spec, weight, state, registry)
    if pretrained is False:
        state = None  # read all the same, so that what a stranger's spec asks for is checked
    return state, weight.num_classes, weight.in_chans
