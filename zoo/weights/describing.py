"""What timm calls pretrained_cfg."""

from __future__ import annotations

from typing import Any

from zoo.contracts.modules import ImageClassifier
from zoo.records import StoredWeight
from zoo.sources import Source

DEFAULT_IMAGE_SIZE = 224
"""Pixels a side that a network without weights is described with; any its backbone takes will do."""


def describe(model: ImageClassifier, weight: StoredWeight | None, source: Source | None = None) -> dict[str, Any]:
    """Where the weights come from, if any, and how to prepare an image."""
    cfg: dict[str, Any] = {
        "architecture": model.spec.text,
        "num_classes": model.num_classes,
        "input_size": (model.in_chans, DEFAULT_IMAGE_SIZE, DEFAULT_IMAGE_SIZE),
        "fixed_input_size": False,
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": (0.0,) * model.in_chans,
        "std": (1.0,) * model.in_chans,
        "classifier": _one_or_all(model.classifier_names),
        "first_conv": _one_or_all(model.first_conv_names),
    }
    if weight is not None:
        size = weight.preprocessing.size
        cfg |= {
            "tag": weight.tag,
            "source": str(source),
            "license": weight.license,
            "num_classes": weight.num_classes,
            "label_names": list(weight.labels),
            "input_size": (weight.in_chans, size, size),
            "interpolation": weight.preprocessing.interpolation,
            "crop_mode": weight.preprocessing.crop,
            "mean": (0.0,) * weight.in_chans,
            "std": (1.0,) * weight.in_chans,
        }
    return cfg


def _one_or_all(names: tuple[str, ...]) -> str | tuple[str, ...]:
    return names[0] if len(names) == 1 else names
