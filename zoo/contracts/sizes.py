"""Default and largest sizes of images and batches."""

from __future__ import annotations

DEFAULT_IMAGE_SIZE = 224
"""Pixels a side unless stated: the size for which papers give costs."""

SMALL_IMAGE_SIZE = 32
"""Pixels a side of CIFAR's images, which checkpoints without a stated size were usually trained on."""

MAX_IMAGE_SIZE = 16_384
"""Most pixels a side in training, evaluation and publication."""

MAX_PROFILED_SIZE = 4096
"""Most pixels a side in profiles and exported graphs."""

COMPARED_ON = 64
"""Images that `zoo compare` counts spikes and energy on."""

PREDICTED_AT_ONCE = 32
"""Images that `zoo predict` sends through the network at once."""
