"""Weights: find, verify, load. Hash first, then safetensors, then a strict match of keys and shapes."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from torch import Tensor

from zoo.errors import WeightError

if TYPE_CHECKING:
    from zoo.catalog import WeightRecord
    from zoo.contracts.modules import ImageClassifier


def read_weight(record: WeightRecord) -> bytes:
    """The bytes of a weight, their size and sha256 checked before anything looks inside.

    Raises:
        WeightError: missing, or not the published bytes.
    """
    kind, _, place = record.source.partition(":")
    if kind != "package":
        raise WeightError(f"{record.name}: loading from {record.source} is not supported yet; use a package: source")
    module, _, path = place.partition("/")
    try:
        data = resources.files(module).joinpath(path).read_bytes()
    except (ModuleNotFoundError, OSError) as error:
        raise WeightError(f"{record.name}: {path} is not in package {module!r}; reinstall it ({error})") from error
    found = hashlib.sha256(data).hexdigest()
    if len(data) != record.size or found != record.sha256:
        raise WeightError(
            f"{record.name}: {place} is not the published file: {len(data)} bytes, sha256 {found[:12]}…, "
            f"expected {record.size} bytes, sha256 {record.sha256[:12]}…; reinstall the distribution that holds it"
        )
    return data


def adapt_channels(weight: Tensor, in_chans: int) -> Tensor:
    """A first convolution (O, C, h, w) for another number of channels.

    Summed for one channel; otherwise repeated, cut, and scaled by C / in_chans so that outputs keep their size.
    """
    channels = weight.shape[1]
    if in_chans == 1:
        return weight.sum(1, keepdim=True)
    repeats = -(-in_chans // channels)
    return weight.repeat(1, repeats, 1, 1)[:, :in_chans] * (channels / in_chans)


def load_weight(model: ImageClassifier, record: WeightRecord) -> None:
    """Load a published weight into a model of its variant.

    With another number of classes the last layer keeps its fresh values; with other channels the first
    convolutions are adapted. Every other key must match exactly.

    Raises:
        WeightError: missing, altered, or not fitting; the message names the key.
    """
    if model.spec.plain_text != record.variant:
        raise WeightError(f"{record.name} was trained as {record.variant!r}, which {model.spec} is not")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise WeightError(f"{record.name} cannot be loaded on the meta device, which holds no values; build on 'cpu'")
    try:
        state = load_bytes(read_weight(record))
    except SafetensorError as error:
        raise WeightError(f"{record.name}: not a safetensors file: {error}") from error
    fresh = model.state_dict()
    if model.num_classes != record.num_classes:
        _keep_fresh_head(model, state, fresh)
    if model.in_chans != record.in_chans:
        for key in (f"{name}.weight" for name in model.first_conv_names):
            if key in state:  # a missing one is named below
                state[key] = adapt_channels(state[key], model.in_chans)
    _check_fit(record.name, state, fresh)
    model.load_state_dict(state, strict=True)


def _keep_fresh_head(model: ImageClassifier, state: dict[str, Tensor], fresh: dict[str, Tensor]) -> None:
    for name in model.classifier_names:
        for key in (f"{name}.weight", f"{name}.bias"):
            state.pop(key, None)
            if key in fresh:
                state[key] = fresh[key]


def _check_fit(name: str, state: dict[str, Tensor], fresh: dict[str, Tensor]) -> None:
    missing, unexpected = sorted(fresh.keys() - state.keys()), sorted(state.keys() - fresh.keys())
    misshapen = sorted(key for key in fresh.keys() & state.keys() if fresh[key].shape != state[key].shape)
    if missing or unexpected or misshapen:
        problems = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
        told = "; ".join(f"{what}: {', '.join(keys[:5])}" for what, keys in problems.items() if keys)
        raise WeightError(f"{name} does not fit its model; {told}")


DEFAULT_IMAGE_SIZE = 224
"""Pixels a side that a network without weights is described with; any its backbone takes will do."""


def describe(model: ImageClassifier, record: WeightRecord | None) -> dict[str, Any]:
    """What timm calls pretrained_cfg: where the weights come from, if any, and how to prepare an image."""
    cfg: dict[str, Any] = {
        "architecture": model.spec.text,
        "num_classes": model.num_classes,
        "input_size": (model.in_chans, DEFAULT_IMAGE_SIZE, DEFAULT_IMAGE_SIZE),
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": (0.0,) * model.in_chans,
        "std": (1.0,) * model.in_chans,
        "classifier": _one_or_all(model.classifier_names),
        "first_conv": _one_or_all(model.first_conv_names),
    }
    if record is not None:
        size = record.preprocessing.size
        cfg |= {
            "tag": record.tag,
            "source": record.source,
            "license": record.license,
            "num_classes": record.num_classes,
            "label_names": list(record.labels),
            "input_size": (record.in_chans, size, size),
            "interpolation": record.preprocessing.interpolation,
            "crop_mode": record.preprocessing.crop,
            "mean": (0.0,) * record.in_chans,
            "std": (1.0,) * record.in_chans,
        }
    return cfg


def _one_or_all(names: tuple[str, ...]) -> str | tuple[str, ...]:
    return names[0] if len(names) == 1 else names
