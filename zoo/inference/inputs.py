"""What people have as images, as a network takes them: `zoo.transform`, and anything that `zoo.predict` is given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.catalog.schema import Preprocessing
from zoo.contracts.classifier import ImageClassifier
from zoo.data.images import find_images, prepare, read_image, to_rgb
from zoo.errors import InputError, OptionError
from zoo.factory import open_model
from zoo.weights import stated_preprocessing

Source = Path | str | Image.Image | np.ndarray[Any, Any] | Tensor
"""One image in any form, or a folder of image files, or a batch of images in one array or tensor."""


@final
@dataclass(frozen=True)
class Transform:
    """From a PIL image, or the path of an image file, to the tensor that a network takes, (3, size, size) float32.

    Attributes:
        preprocessing: size, crop, interpolation, mean and std.
    """

    preprocessing: Preprocessing

    def __call__(self, image: Image.Image | Path | str) -> Tensor:
        """The image resized, cropped and normalised; raises `InputError` for what is not an image."""
        if isinstance(image, Path | str):
            return prepare(read_image(image), self.preprocessing)
        if not isinstance(image, Image.Image):
            raise InputError(f"a transform takes a PIL image or a path, not {type(image).__name__}")
        return prepare(to_rgb(image, "the image"), self.preprocessing)


def transform(model: ImageClassifier | str, image_size: int | None = None) -> Transform:
    """What makes a PIL image ready for a model, as its weight wants it: torchvision's and timm's convention.

    Example:
        >>> import zoo
        >>> from PIL import Image
        >>> prepare = zoo.transform("has8_resnet_b8_m2_d4_ste_bpd.cifar10")
        >>> prepare(Image.new("RGB", (640, 480))).shape
        torch.Size([3, 32, 32])

    Args:
        model: a network of the zoo, or a name or reference as `create_model` takes it.
        image_size: pixels a side; None for the weight's own, or 224 without a weight.

    Returns:
        A function from an image to a tensor (3, size, size).

    Raises:
        ModelNameError, TagError, HubError, WeightError: as `create_model` does.
        OptionError: `model` is something else.
    """
    if isinstance(model, ImageClassifier):
        return Transform(stated_preprocessing(model, image_size))
    if not isinstance(model, str):
        raise OptionError(f"transform takes a network of the zoo or a name, not {type(model).__name__}")
    return Transform(open_model(model, listed=True).preprocessing(image_size))


@final
@dataclass(frozen=True)
class Named:
    """One image that is still to be prepared.

    Attributes:
        name: its path, or `image 3` where it has none.
        image: what was given.
    """

    name: Path | str
    image: Path | Image.Image | Tensor


def list_images(images: Source | Iterable[Source]) -> Iterator[Named]:
    """Every single image in what was given, in its order: folders are walked, batches are taken apart.

    Raises:
        InputError: for what is not an image in any of the forms that `zoo.predict` takes.
    """
    several = not isinstance(images, Path | str | Image.Image | np.ndarray | Tensor)
    if several and not isinstance(images, Iterable):
        raise InputError(f"images are paths, PIL images, arrays or tensors, not {type(images).__name__}")
    count = 0
    for source in images if several else [images]:  # type: ignore[union-attr]
        for image in _single(source, count):
            yield Named(image if isinstance(image, Path) else f"image {count}", image)
            count += 1


def _single(source: Any, number: int) -> Iterator[Path | Image.Image | Tensor]:
    if isinstance(source, Path | str):
        yield from find_images([source])
    elif isinstance(source, Image.Image):
        yield source
    elif isinstance(source, np.ndarray):
        yield from _from_array(source, number)
    elif isinstance(source, Tensor):
        yield from _from_tensor(source, number)
    else:
        raise InputError(
            f"image {number} is a {type(source).__name__}; valid: a path, a PIL image, an array or a tensor"
        )


def _from_array(array: np.ndarray[Any, Any], number: int) -> Iterator[Image.Image]:
    if array.dtype != np.uint8:
        raise InputError(f"array {number} holds {array.dtype}; valid: uint8 levels from 0 to 255, (H, W, 3) or (H, W)")
    colour = array.ndim == 4 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.ndim not in (2, 3, 4) or (colour and array.shape[-1] not in (1, 3, 4)):
        raise InputError(f"array {number} is {array.shape}; valid: (H, W), (H, W, 3), (N, H, W) or (N, H, W, 3)")
    single = array.ndim == 2 or (array.ndim == 3 and colour)
    for image in [array] if single else array:
        yield Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[-1:] == (1,) else image))


def _from_tensor(tensor: Tensor, number: int) -> Iterator[Image.Image | Tensor]:
    if tensor.dim() not in (3, 4) or not (tensor.dtype == torch.uint8 or tensor.is_floating_point()):
        raise InputError(
            f"tensor {number} is {tuple(tensor.shape)} of {tensor.dtype}; valid: (C, H, W) or (N, C, H, W), of uint8 "
            "levels, or of floats that zoo.transform made"
        )
    for image in tensor[None] if tensor.dim() == 3 else tensor:
        if image.dtype == torch.uint8:
            yield from _from_array(image.permute(1, 2, 0).cpu().numpy(), number)
        else:
            yield image
