"""Images of zeros: what is counted without looking at values is counted with them."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.contracts.classifier import ImageClassifier
from zoo.errors import InputError


def blank_images(model: ImageClassifier, image_size: int, count: int = 1) -> Tensor:
    """(count, in_chans, image_size, image_size) of zeros, of the model's type and device.

    Raises:
        InputError: the model is on the meta device.
    """
    weights = next(model.parameters())
    if weights.is_meta:
        raise InputError(f"{model.spec} is on the meta device, where nothing can be traced; build it on 'cpu'")
    return torch.zeros(count, model.in_chans, image_size, image_size, dtype=weights.dtype, device=weights.device)
