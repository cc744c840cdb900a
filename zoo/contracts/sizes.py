"""Default and largest sizes of images and batches."""

from __future__ import annotations

DEFAULT_IMAGE_SIZE = 224  # pixels a side unless stated: the size for which papers give costs
SMALL_IMAGE_SIZE = 32  # of CIFAR's images, which checkpoints without a stated size were usually trained on
MAX_IMAGE_SIZE = 16_384  # in training, evaluation and publication
MAX_PROFILED_SIZE = 4096  # in profiles and exported graphs
COMPARED_ON = 64  # images that `zoo compare` counts spikes and energy on
PREDICTED_AT_ONCE = 32  # images that `zoo predict` sends through the network at once
