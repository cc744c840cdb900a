"""What timm calls pretrained_cfg."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.catalog.schema import Preprocessing, StoredWeight
from zoo.catalog.sources import Source
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.family import PublishedWeights
from zoo.contracts.sizes import DEFAULT_IMAGE_SIZE


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
    mean, std = weight.preprocessing.of_channels(weight.in_chans)
    return {
        "tag": weight.tag,
        "license": weight.license,
        "num_classes": weight.num_classes,
        "label_names": list(weight.labels),
        "input_size": (weight.in_chans, size, size),
        "interpolation": weight.preprocessing.interpolation,
        "crop_mode": weight.preprocessing.crop,
        "crop_pct": weight.preprocessing.crop_pct,
        "mean": mean,
        "std": std,
    }


def describe_published(published: PublishedWeights, source: Source, sha256: str) -> dict[str, Any]:
    """What a network's own publisher says of the weights that it has now, where they are from, and their hash."""
    stated, side = published.stated, published.stated.image_size or DEFAULT_IMAGE_SIZE
    return {
        "tag": published.tag,
        "license": stated.license or None,
        "num_classes": published.num_classes,
        "label_names": list(stated.labels),
        "input_size": (published.in_chans, side, side),
        "interpolation": stated.interpolation,
        "crop_mode": "center",
        "crop_pct": stated.crop_pct,
        "mean": stated.mean,
        "std": stated.std,
        "source": str(source),
        "sha256": sha256,
    }


def preprocessing_of_published(published: PublishedWeights) -> Preprocessing:
    """How images are prepared for a network's own publisher's weights."""
    stated = published.stated
    prepared = {
        "size": stated.image_size or DEFAULT_IMAGE_SIZE,
        "interpolation": stated.interpolation,
        "crop_pct": stated.crop_pct,
        "mean": _one_for_all(stated.mean),
        "std": _one_for_all(stated.std),
    }
    return Preprocessing.model_validate(prepared)


def labels_of(model: ImageClassifier) -> tuple[str, ...]:
    """A name for every class: those of the weight that the model was built with, or `class 0`, …."""
    known = model.pretrained_cfg.get("label_names") or ()
    return tuple(map(str, known)) if len(known) == model.num_classes else default_labels(model.num_classes)


def default_labels(count: int) -> tuple[str, ...]:
    """Labels of classes that nobody has named."""
    return tuple(f"class {index}" for index in range(count))


def stated_preprocessing(model: ImageClassifier, image_size: int | None = None) -> Preprocessing:
    """How images become what a model takes, as its `pretrained_cfg` states it.

    Args:
        model: with or without a weight; without one the image size is 224, or the smallest that it takes.
        image_size: another one.

    Example:
        >>> import zoo
        >>> stated_preprocessing(zoo.create_model("has8_resnet_b8_m2_d4_ste_bpd.cifar10")).size
        32
    """
    cfg = describe_untrained(model.num_classes, model.in_chans) | model.pretrained_cfg
    return Preprocessing(
        size=image_size or max(int(cfg["input_size"][-1]), model.min_image_size),
        interpolation=cfg["interpolation"],
        crop_pct=cfg["crop_pct"],
        mean=_one_for_all(cfg["mean"]),
        std=_one_for_all(cfg["std"]),
    )


def _one_for_all(values: Sequence[float]) -> tuple[float, ...]:
    """Of the channels, as a record writes them: one number where all are the same."""
    return (float(values[0]),) if len(set(values)) == 1 else tuple(float(value) for value in values)


def _one_or_all(names: tuple[str, ...]) -> str | tuple[str, ...]:
    return names[0] if len(names) == 1 else names
