"""What data must be like for a model to be trained on them."""

from __future__ import annotations

from itertools import pairwise

from zoo.contracts.classifier import ImageClassifier
from zoo.cpu.convolution import unguarded_convolutions
from zoo.data import ImageSplit
from zoo.errors import InputError
from zoo.profiling.counting import NEURONS


def check_fit(model: ImageClassifier, data: ImageSplit) -> None:
    if model.num_classes != len(data.classes):
        raise InputError(
            f"{model.spec} has {model.num_classes} classes, the data {len(data.classes)}; "
            f"build it with num_classes={len(data.classes)}"
        )
    if min(data.size) < model.min_image_size:
        raise InputError(
            f"{model.spec} needs {model.min_image_size} pixels a side or more, the images have "
            f"{data.size[1]}×{data.size[0]}; choose --image-size {model.min_image_size} or more"
        )


def check_maps(model: ImageClassifier, data: ImageSplit) -> None:
    """Refuse strides on maps of a single pixel where a layer of another package would leave its gradient unwritten."""
    if not unguarded_convolutions(model):
        return
    reductions = [level["reduction"] for level in model.feature_info]
    strided = [before for before, behind in pairwise(reductions) if behind > before and max(data.size) <= before]
    if strided:
        raise InputError(
            f"{model.spec} strides over a map of a single pixel where images have {data.size[1]}×{data.size[0]}, and "
            "torch gets the gradient of that wrong in bf16 on a CPU; choose --precision no, or "
            f"--image-size {strided[-1] + 1} or more"
        )


def check_spikes(model: ImageClassifier, penalty: float) -> None:
    """Refuse a penalty on the spikes of a network that has none."""
    if penalty and not any(isinstance(module, NEURONS) for module in model.modules()):
        raise InputError(
            f"spike_penalty={penalty:g} is a weight on spikes, and {model.spec} has no spiking neurons; leave it at 0"
        )
