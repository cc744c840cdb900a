"""What timm calls pretrained_cfg."""

from __future__ import annotations

from typing import Any

from zoo.catalog.schema import StoredWeight
from zoo.catalog.sources import Source
from zoo.contracts.classifier import ImageClassifier

DEFAULT_IMAGE_SIZE = 224
"""Pixels a side that a network without weights is described with; any its backbone takes will do."""


def describe(model: ImageClassifier, weight: StoredWeight | None, source: Source | None = None) -> dict[str, Any]:
    """Where the weights come from, if any, and how to prepare an image."""
    cfg = {
        "architecture": model.spec.text,
        **describe_untrained(model.num_classes, model.in_chans),
        **describe_layers(model),
    }
    if weight is not None:
        cfg |= describe_weight(weight) | {"source": str(source)}
    return cfg


def describe_untrained(num_classes: int, in_chans: int) -> dict[str, Any]:
    """How to prepare an image for a network without weights."""
    return {
        "num_classes": num_classes,
        "input_size": (in_chans, DEFAULT_IMAGE_SIZE, DEFAULT_IMAGE_SIZE),
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": (0.0,) * in_chans,
        "std": (1.0,) * in_chans,
    }


def describe_layers(model: ImageClassifier) -> dict[str, Any]:
    """Names of the layers whose shapes depend on classes and channels."""
    return {"classifier": _one_or_all(model.classifier_names), "first_conv": _one_or_all(model.first_conv_names)}


def describe_weight(weight: StoredWeight) -> dict[str, Any]:
    """What a weight was trained for, and how to prepare an image for it."""
    size = weight.preprocessing.size
    return {
        "tag": weight.tag,
        "license": weight.license,
        "num_classes": weight.num_classes,
        "label_names": list(weight.labels),
        "input_size": (weight.in_chans, size, size),
        "interpolation": weight.preprocessing.interpolation,
        "crop_mode": weight.preprocessing.crop,
        "mean": (0.0,) * weight.in_chans,
        "std": (1.0,) * weight.in_chans,
    }


def _one_or_all(names: tuple[str, ...]) -> str | tuple[str, ...]:
    return names[0] if len(names) == 1 else names
