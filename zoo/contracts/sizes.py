"""Sizes of images and batches: the defaults, and the largest valid ones."""

from __future__ import annotations

DEFAULT_IMAGE_SIZE = 224
"""Pixels a side where neither the user nor a weight states them: the size that costs in papers are given for."""

SMALL_IMAGE_SIZE = 32
"""Pixels a side of CIFAR's images, which checkpoints without a stated size were usually trained on."""

MAX_IMAGE_SIZE = 16_384
"""Most pixels a side of what a network is trained on, evaluated on or published for."""

MAX_PROFILED_SIZE = 4096
"""Most pixels a side that costs are counted for and graphs are exported for."""

COMPARED_ON = 64
"""Images that `zoo compare` counts spikes and energy on."""

PREDICTED_AT_ONCE = 32
"""Images that `zoo predict` sends through the network at once."""
