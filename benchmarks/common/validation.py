"""Validation images and what a network says of them, for the benchmarks that need real data."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from zoo.contracts import ImageClassifier
from zoo.data import load_split
from zoo.errors import InputError


def read_images(data: Path, count: int | None = None) -> tuple[Tensor, Tensor]:
    """Pixels (n, 3, H, W) in [0, 1] and labels (n,), of `count` images spread evenly over the split, or of all.

    Raises:
        InputError: there is no such split, or it has fewer images.
    """
    split = load_split(data, "val")
    count = len(split) if count is None else count
    if count > len(split):
        raise InputError(f"{data} has {len(split)} images, not {count}")
    pixels, labels = split.read(torch.arange(count) * len(split) // count)
    return pixels.float() / 255, labels


@torch.no_grad()
def fit(model: ImageClassifier, pixels: Tensor, labels: Tensor, batch: int = 50, calibrating: int = 512) -> None:
    """Make an untrained network say something, in place: batch norms, then the last layer by least squares.

    Its other layers stay as they are initialised.

    Args:
        model: with a linear layer at its end.
        pixels: (n, 3, H, W) of training images.
        labels: (n,).
        batch: images at once.
        calibrating: how many images the batch norms' statistics come from.
    """
    model.train()
    for each in pixels[:calibrating].split(batch):
        model(each)
    model.eval()
    features = torch.cat(
        [model.forward_head(model.forward_features(each), pre_logits=True) for each in pixels.split(batch)]
    ).double()
    mean = features.mean(0)
    scale = features.std(0).clamp(min=1e-6)
    scaled = (features - mean) / scale
    targets = torch.nn.functional.one_hot(labels, model.num_classes).double()
    ridge = 1e-2 * len(scaled) * torch.eye(scaled.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(scaled.T @ scaled + ridge, scaled.T @ (targets - targets.mean(0))) / scale[:, None]
    layer = model.get_classifier()
    assert isinstance(layer, torch.nn.Linear)
    layer.weight.copy_(weights.T)
    layer.bias.copy_(targets.mean(0) - mean @ weights)
