"""Verified tensors into a model: every key and shape must match, apart from a new head or stem."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from zoo.catalog.schema import StoredWeight
from zoo.composition import build_model
from zoo.contracts.classifier import ImageClassifier
from zoo.errors import WeightError
from zoo.names import Spec, plain_name
from zoo.registry.registry import Registry

_REAL = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def adapt_channels(weight: Tensor, in_chans: int) -> Tensor:
    """A first convolution (O, C, h, w) for another number of channels.

    Summed for one channel; otherwise repeated, cut, and scaled by C / in_chans so that outputs keep their size.
    """
    channels = weight.shape[1]
    if in_chans == 1:
        return weight.sum(1, keepdim=True)
    repeats = -(-in_chans // channels)
    return weight.repeat(1, repeats, 1, 1)[:, :in_chans] * (channels / in_chans)


def check_before_allocation(
    spec: Spec, weight: StoredWeight, state: Mapping[str, Tensor], registry: Registry | None = None
) -> None:
    """Raise `WeightError` where a stored spec describes another network than its file holds.

    For weights whose spec comes from outside: the network is described on the meta device, so that one that asks
    for more memory than its file is refused before any is allocated.
    """
    with torch.device("meta"):
        described = build_model(spec, weight.num_classes, weight.in_chans, registry=registry)
    _check_fit(weight.name, state, described.state_dict())


def load_weight(model: ImageClassifier, weight: StoredWeight, state: Mapping[str, Tensor]) -> None:
    """Load the tensors of a published weight into a model of its variant.

    With another number of classes the last layer keeps its fresh values; with other channels the first
    convolutions are adapted. Every other key must match exactly.

    Raises:
        WeightError: not fitting, or not finite; the message names the key.
    """
    if model.spec.plain_text != plain_name(weight.variant):
        raise WeightError(f"{weight.name} was trained as {weight.variant!r}, which {model.spec} is not")
    load_state(model, state, weight.name, weight.num_classes, weight.in_chans)


def load_state(model: ImageClassifier, state: Mapping[str, Tensor], origin: str, num_classes: int, chans: int) -> None:
    """Load tensors that were trained with `num_classes` and `chans`, as `load_weight` does."""
    if any(parameter.is_meta for parameter in model.parameters()):
        raise WeightError(
            f"{origin} cannot be loaded on the meta device, which holds no values; build on 'cpu', "
            "or without weights, by pretrained=False"
        )
    adapted, fresh = dict(state), model.state_dict()
    if model.num_classes != num_classes:
        _keep_fresh_head(model, adapted, fresh)
    if model.in_chans != chans:
        for key in (f"{name}.weight" for name in model.first_conv_names):
            if key in adapted:  # a missing one is named below
                adapted[key] = adapt_channels(adapted[key], model.in_chans)
    _check_fit(origin, adapted, fresh)
    _check_finite(origin, state, fresh)
    model.load_state_dict(adapted, strict=True)


def _keep_fresh_head(model: ImageClassifier, state: dict[str, Tensor], fresh: Mapping[str, Tensor]) -> None:
    for name in model.classifier_names:
        for key in (f"{name}.weight", f"{name}.bias"):
            state.pop(key, None)
            if key in fresh:
                state[key] = fresh[key]


def _check_fit(origin: str, state: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> None:
    missing, unexpected = sorted(fresh.keys() - state.keys()), sorted(state.keys() - fresh.keys())
    misshapen = sorted(key for key in fresh.keys() & state.keys() if fresh[key].shape != state[key].shape)
    mistyped = sorted(key for key in fresh.keys() & state.keys() if not _is_alike(fresh[key], state[key]))
    if missing or unexpected or misshapen or mistyped:
        problems = {
            "missing": missing,
            "unexpected": unexpected,
            "of another shape": misshapen,
            "of another type": mistyped,
        }
        text = "; ".join(f"{what}: {', '.join(keys[:5])}" for what, keys in problems.items() if keys)
        raise WeightError(f"{origin} does not fit its model; {text}")


def _is_alike(fresh: Tensor, stored: Tensor) -> bool:
    """Whether nothing but precision is lost: a complex number, say, would lose half of itself in silence."""
    return stored.dtype in _REAL if fresh.is_floating_point() else stored.dtype == fresh.dtype


def _check_finite(origin: str, state: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> None:
    """Raise `WeightError` for the first tensor with a value that is not finite, or that the model's type cannot hold.

    Lowest and highest are found in one pass without a copy; both are NaN where any value is.
    """
    for key, value in state.items():
        parts = torch.view_as_real(value) if value.is_complex() else value
        if not parts.is_floating_point() or not parts.numel():
            continue  # a count of batches, say
        low, high = (float(bound) for bound in torch.aminmax(parts))
        if not -math.inf < low <= high < math.inf:
            count = int((~parts.isfinite()).sum())
            raise WeightError(
                f"{origin}: {key} holds NaN or infinity ({count:,} of {parts.numel():,} values); weights are finite "
                "numbers: take an earlier checkpoint, or train again with a lower learning rate"
            )
        dtype = fresh.get(key, value).dtype
        if dtype.is_floating_point and max(-low, high) > torch.finfo(dtype).max:
            raise WeightError(
                f"{origin}: {key} holds {max(low, high, key=abs):g}, which {dtype} cannot: "
                f"valid are ±{torch.finfo(dtype).max:g}; load it with dtype=torch.float32"
            )


def count_classes(
    spec: Spec, state: Mapping[str, Tensor], origin: str, registry: Registry | None = None
) -> tuple[int, int]:
    """Classes and image channels of the network that these tensors belong to, read off their shapes.

    Raises:
        WeightError: they hold no such network's last layer or first convolution.
    """
    with torch.device("meta"):
        described = build_model(spec, 1, registry=registry)
    counts = []
    for name, axis in ((described.classifier_names[-1], 0), (described.first_conv_names[0], 1)):
        tensor = state.get(f"{name}.weight")
        if tensor is None or tensor.dim() <= axis:
            raise WeightError(f"{origin} holds no {name}.weight; it is not a checkpoint of {spec.untagged()}")
        counts.append(tensor.shape[axis])
    return counts[0], counts[1]
