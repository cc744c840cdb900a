"""Multiply-accumulates as torch's own counter sees them, independently of fvcore and of everything else here.

fvcore reads a traced graph, by torch's private tracer; `FlopCounterMode` watches the operations that really run. It
knows convolutions, linear layers and products of matrices, and nothing else: fvcore counts batch norms too.
"""

from __future__ import annotations

from torch.utils.flop_counter import FlopCounterMode

from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.sizes import DEFAULT_IMAGE_SIZE
from zoo.profiling.blank import blank_images

_IMAGES = 2
"""The zoo convolves a single small image twice, so that it is rounded as in a batch; of two, each counts once."""
_FLOPS_PER_MAC = 2


def count_by_torch(model: ImageClassifier, image_size: int = DEFAULT_IMAGE_SIZE) -> int:
    """Multiply-accumulates of one image in convolutions, linear layers and products of matrices, all timesteps.

    Args:
        model: any network of the zoo; every module's mode is restored afterwards.
        image_size: pixels a side.

    Raises:
        InputError: the model is on the meta device, or needs a larger image.
    """
    counter = FlopCounterMode(display=False)
    with model.evaluating(), counter:
        model(blank_images(model, image_size, _IMAGES))
    return int(counter.get_total_flops()) // (_FLOPS_PER_MAC * _IMAGES)
