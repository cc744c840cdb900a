"""How many images are classified at once: 250, and of large images as many as fit; what is said where they do not fit.

The number comes from the network and the image size alone, never from the memory that is free at the moment: another
number rounds differently in the last bits, and a figure must be the same on every machine.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from zoo.contracts.classifier import ImageClassifier
from zoo.errors import InputError, MemoryLimitError

MOST = 250
"""Images at once, where they fit. The released weights were measured so."""

BUDGET = 1 << 30
"""Bytes of activations up to which images fit. A training step of a batch of usual size takes more."""

_BYTES = 4  # of a float32, also under autocast, so that the number of images is the same in every precision


_SHORTAGE = ("DefaultCPUAllocator", "not enough memory", "bad_alloc")
"""In what torch says where no memory is left on the CPU."""


def choose_batch(model: ImageClassifier, size: tuple[int, int], trained: int | None = None) -> int:
    """Images of (height, width) pixels to classify at once: 250, or as many as take 1 GiB of activations.

    Args:
        model: in eval mode, without gradients.
        size: of the images.
        trained: images of a training step that is known to fit. Where 250 are over the budget, there are no more than
            these: without gradients an image takes a part of what it takes in training.

    Raises:
        InputError: the images are too small for the model.
    """
    fitting = max(1, min(MOST, BUDGET // bytes_of_one(model, size)))
    return fitting if fitting == MOST or trained is None else max(1, min(fitting, trained))


def bytes_of_one(model: ImageClassifier, size: tuple[int, int]) -> int:
    """Activations of an image of (height, width) pixels, at their peak without gradients.

    That is what the largest layer takes and gives, in float32; what the layers before it gave is free again. One black
    image goes through the network to see it; hooks of the network's owner do not see that image.
    """
    most = 1

    def see(module: nn.Module, value: Any, returned: Any) -> None:
        nonlocal most
        most = max(most, _values(value) + _values(returned))

    device = next(model.parameters()).device
    with _hooked(model, see), telling_shortage(model, 1, size):
        model(torch.zeros(1, model.in_chans, *size, device=device))
    return _BYTES * most


def _values(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel()
    return sum(map(_values, value)) if isinstance(value, tuple | list) else 0


@contextmanager
def _hooked(model: nn.Module, see: Callable[[nn.Module, Any, Any], None]) -> Iterator[None]:
    """Inside, every layer has this forward hook and no other; torch has no public way to silence the others."""
    own = [(module, module._forward_hooks, module._forward_pre_hooks) for module in model.modules()]
    try:
        for module, _, _ in own:
            module._forward_hooks, module._forward_pre_hooks = OrderedDict(), OrderedDict()
            module.register_forward_hook(see)
        yield
    finally:
        for module, hooks, pre_hooks in own:
            module._forward_hooks, module._forward_pre_hooks = hooks, pre_hooks


@contextmanager
def telling_shortage(model: ImageClassifier, images: int, size: tuple[int, int], asked: bool = False) -> Iterator[None]:
    """Inside, running out of memory is a `MemoryLimitError` that says how many images were too many.

    Args:
        model: that classifies them.
        images: at once.
        size: (height, width) of each.
        asked: whether somebody asked for that number, and more than usual may have been too many.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        text = f"{model.spec}: {images} images" if images > 1 else f"{model.spec}: one image"
        advice = f"choose --eval-batch-size {images // 2} or less" if images > 1 else "choose smaller images"
        if asked and images > 1:
            advice += ", or leave the option out"
        raise MemoryLimitError(
            f"{text} of {size[1]}×{size[0]} pixels at once need{'' if images > 1 else 's'} more memory than there is "
            f"({reason_of(error)}); {advice}"
        ) from error


def is_shortage(error: Exception) -> bool:
    """Whether Python, torch's allocator on the CPU, or the one of a GPU found no memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in str(error) for word in _SHORTAGE)


def reason_of(error: Exception) -> str:
    """The first line of what was said of it, without the rest of torch's advice."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def check_batch(images: int | None) -> None:
    """Raise `InputError` for fewer than one image at once."""
    if images is not None and images < 1:
        raise InputError(f"{images} images at once are out of range; valid: 1 or more (--eval-batch-size)")
