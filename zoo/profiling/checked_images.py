"""Images for a profile: each is checked when it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

import torch
from torch import Tensor

from zoo.contracts.classifier import ImageClassifier
from zoo.errors import InputError
from zoo.weights import stated_preprocessing

_SLACK = 1e-5
"""Rounding of a mean and std."""


def open_images(
    images: Tensor | Iterable[Tensor], image_size: int | None, network: ImageClassifier
) -> tuple[Iterator[Tensor], int]:
    """The images, checked one by one as they come, and their side; the first one is looked at already here."""
    if isinstance(images, Tensor) and images.dim() != 4:
        raise InputError(f"images are (N, C, H, W), not {tuple(images.shape)}; a single one is image[None]")
    rest = iter(images)
    start = list(islice(rest, 1))
    if not start:
        raise InputError("there are no images; give at least one")
    first = _check_kind(start[0], 0)
    side = image_size or first.shape[-1]
    valid = _valid_range(network)
    return (_check(image, number, side, *valid) for number, image in enumerate(chain(start, rest))), side


def _check_kind(image: Tensor, number: int) -> Tensor:
    if not isinstance(image, Tensor) or not image.is_floating_point() or image.dim() != 3:
        raise InputError(f"image {number} is not a floating-point tensor (C, H, W) of pixels in [0, 1]")
    return image


def _valid_range(network: ImageClassifier) -> tuple[Tensor, Tensor]:
    """What pixels of 0 and of 1 become by the network's mean and std, each (C, 1, 1)."""
    stated = stated_preprocessing(network)
    if not stated.normalises:
        return torch.zeros(1), torch.ones(1)
    mean, std = (torch.tensor(values)[:, None, None] for values in stated.of_channels(network.in_chans))
    return -mean / std - _SLACK, (1 - mean) / std + _SLACK


def _check(image: Tensor, number: int, side: int, lowest: Tensor, highest: Tensor) -> Tensor:
    channels, height, width = _check_kind(image, number).shape
    if len(lowest) not in (1, channels):
        raise InputError(f"image {number} has {channels} channels; wanted: {len(lowest)}")
    if (height, width) != (side, side):
        raise InputError(f"image {number} has {height}×{width} pixels; wanted: {side}×{side}, all alike and square")
    inside = image.numel() and bool(((image >= lowest) & (image <= highest)).all())  # NaN is neither
    if not inside:
        low, high = float(lowest.min()), float(highest.max())
        advice = "scale pixels to [0, 1]" if (low, high) == (0, 1) else "prepare images by zoo.transform(model)"
        raise InputError(f"image {number} holds values outside [{low:.4g}, {high:.4g}], or NaN; {advice}")
    return image
