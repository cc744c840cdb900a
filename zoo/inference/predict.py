"""Classify images of any form, batch by batch and in order; a bad file is an answer too, not the end."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeAlias, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from zoo.contracts.classifier import ImageClassifier
from zoo.data.images import CHANNELS, Transform, display_name, find_images, from_levels, read_image, reading, to_rgb
from zoo.data.splits import map_ahead
from zoo.device import usable_device
from zoo.errors import InputError, OptionError, printable
from zoo.inference import PREDICTED_AT_ONCE
from zoo.models.factory import open_model
from zoo.models.wrappers import unwrap
from zoo.weights.load import labels_of, stated_preprocessing

ImageSource: TypeAlias = Path | str | bytes | IO[bytes] | Image.Image | np.ndarray[Any, Any] | Tensor
"""One image in any form, or a folder of image files, or a batch of images in one array or tensor."""

_Single = Path | bytes | Image.Image | np.ndarray[Any, Any] | Tensor
_Named = tuple[Path | str, _Single]
"""An image that is still to be prepared, behind its path, or `image 3` if it has none."""

_Prepared = tuple[Path | str, Tensor]


@final
@dataclass(frozen=True)
class Prediction:
    """The answer of a model to one image.

    Attributes:
        file: as it was given; `image 3` for the fourth if it is not a file.
        ranked: (label, probability), the most probable first; probabilities are the softmax over all classes.
    """

    file: Path | str
    ranked: tuple[tuple[str, float], ...]

    @property
    def label(self) -> str:
        """The most probable one."""
        return self.ranked[0][0]

    @property
    def probability(self) -> float:
        """Of `label`, from 0 to 1."""
        return self.ranked[0][1]

    def __str__(self) -> str:
        ranked = ", ".join(f"{printable(label)} {100 * probability:.1f} %" for label, probability in self.ranked)
        return f"{display_name(self.file)}: {ranked}"


@final
@dataclass(frozen=True)
class Failure:
    """A file without a prediction, as it was given; `error` is the reason, naming it."""

    file: Path | str
    error: str

    def __str__(self) -> str:
        return self.error


@final
class Predictions(list[Prediction | Failure]):
    """One answer for each image, in their order; its text has a line for each."""

    def __repr__(self) -> str:
        return "\n".join(map(str, self))


def transform(model: ImageClassifier | str, image_size: int | None = None) -> Transform:
    """Return the function that prepares an image for a model, as its weight wants it.

    Example:
        >>> import zoo
        >>> from PIL import Image
        >>> prepare = zoo.transform("has8_resnet_b8_m2_d4_ste_bpd.cifar10")
        >>> prepare(Image.new("RGB", (640, 480))).shape
        torch.Size([3, 32, 32])

    Args:
        model: a network of the zoo, or a name or reference as `create_model` takes it.
        image_size: pixels a side; None for the checkpoint's own, or 224 without a checkpoint.

    Returns:
        A function from a PIL image or a path to a tensor (3, size, size), and from frames to (T, C, size, size).

    Raises:
        ModelNameError, HubError, WeightError: as `create_model` does.
        OptionError: `model` is something else.
    """
    if isinstance(model, str):
        return Transform(open_model(model, listed=True).preprocessing(image_size))
    return Transform(stated_preprocessing(_unwrapped(model, "transform"), image_size))


def predict(
    model: ImageClassifier | str,
    images: ImageSource | Iterable[ImageSource],
    top: int = 3,
    *,
    batch_size: int = PREDICTED_AT_ONCE,
    device: str | None = None,
) -> Predictions:
    """Classify images of any form.

    Example:
        >>> import zoo
        >>> from zoo.data.images import sample_photographs
        >>> answers = zoo.predict("has8_resnet_b8_m2_d4_ste_bpd.cifar10", sample_photographs())
        >>> answers[0].label
        'cat'

    Args:
        model: a network of the zoo, also compiled or in DataParallel; or a name or reference as `create_model` takes
            it, with its weight. A network that was fused (`model.fuse()`) answers faster; of a hybrid it flips bit
            planes, which changes one answer of 320.
        images: one or many of: the path of an image file or of a folder with images, the bytes of a file, a file opened
            in binary mode, a PIL image, an array of uint8 levels (H, W, 3), (H, W), (N, H, W, 3) or (N, H, W), a tensor
            of uint8 levels (C, H, W) or (N, C, H, W), a tensor of floats that `zoo.transform(model)` made. Frames are
            an array or a tensor (N, T, C, H, W).
        top: number of labels that each answer ranks; of fewer classes all.
        batch_size: images that go through the network at once; it moves a hybrid's logits: see docs/guides/predict.md.
        device: such as `cuda`; None for the network's own.

    Returns:
        A list with a `Prediction` for each image. One that cannot be read has a `Failure` in its place.

    Raises:
        InputError: something is no image, a single file cannot be read, or arguments do not fit.
        ModelNameError, HubError, WeightError: as `create_model` does.
    """
    answers = Predictions(iterate_answers(_network(model, device), images, top, batch_size))
    if isinstance(images, Path | str | bytes | io.IOBase) and len(answers) == 1 and isinstance(answers[0], Failure):
        raise InputError(answers[0].error)
    return answers


def _network(model: object, device: str | None) -> ImageClassifier:
    if isinstance(model, str):
        place = "cpu" if device is None else usable_device(device)
        return open_model(model, required=True).build(pretrained=True, device=place).drop_timesteps()
    network = _unwrapped(model, "predict")
    return network if device is None else network.to(usable_device(device))


def _unwrapped(model: object, function: str) -> ImageClassifier:
    """Return the network in torch's wrappers, or itself; raises `OptionError` for anything else."""
    network = unwrap(model) if isinstance(model, nn.Module) else model
    if not isinstance(network, ImageClassifier):
        raise OptionError(f"{function} takes a network of the zoo or a name, not {type(model).__name__}")
    return network


def iterate_answers(
    model: ImageClassifier,
    images: ImageSource | Iterable[ImageSource],
    top: int = 3,
    batch_size: int = PREDICTED_AT_ONCE,
) -> Iterator[Prediction | Failure]:
    """Yield the answers of `predict` as soon as their batch is done; takes and raises as it does."""
    _check_arguments(model, top, batch_size)
    read, labels = partial(_prepare, model, Transform(stated_preprocessing(model))), labels_of(model)
    prepared = map_ahead(read, list_images(images), 3 * batch_size)
    while batch := list(islice(prepared, batch_size)):
        yield from _answer_batch(model, batch, labels, top)


def _check_arguments(model: ImageClassifier, top: int, batch_size: int) -> None:
    if top < 1 or batch_size < 1:
        raise InputError(f"top={top} or batch_size={batch_size} is out of range; valid: 1 or more")
    is_still = len(model.input_axes) == 1
    if (is_still and model.in_chans != 3) or not model.num_classes:
        sizes = f"in_chans={model.in_chans} and num_classes={model.num_classes}"
        raise InputError(f"{model.spec} has {sizes}; build it with 3, and one or more: images are RGB, and are named")


def _prepare(model: ImageClassifier, transform: Transform, item: _Named) -> _Prepared | Failure:
    """Return an image as the network takes it, behind its name; or why it cannot be read."""
    name, image = item
    if isinstance(image, Tensor):  # the caller has prepared it, so that a fault is no damaged file
        try:
            model.check_image(image[None], values=True)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        return name, image
    try:
        if isinstance(image, np.ndarray):
            return name, transform(image)
        return name, transform(read_image(image) if isinstance(image, Path) else to_rgb(image, str(name)))
    except InputError as error:
        return Failure(name, str(error))


def _answer_batch(
    model: ImageClassifier, batch: Sequence[_Prepared | Failure], labels: Sequence[str], top: int
) -> Iterator[Prediction | Failure]:
    """Yield an answer for each image of a batch, in its order."""
    sound = [item for item in batch if not isinstance(item, Failure)]
    logits = _logits(model, [image for _, image in sound]) if sound else torch.empty(0, model.num_classes)
    answers = _answers([name for name, _ in sound], logits, labels, top)
    for item in batch:
        yield item if isinstance(item, Failure) else next(answers)


def _logits(model: ImageClassifier, images: Sequence[Tensor]) -> Tensor:
    """N times (3, H, W) → (N, classes) float32 on the CPU."""
    if len({image.shape for image in images}) > 1:
        raise InputError("tensors of several shapes do not make one batch; give each its own call")
    weights = next(model.parameters())
    with model.evaluating():
        logits: Tensor = model(torch.stack(list(images)).to(weights.device, weights.dtype))
        return logits.float().cpu()


def _answers(
    files: Sequence[Path | str], logits: Tensor, labels: Sequence[str], top: int
) -> Iterator[Prediction | Failure]:
    """(N, classes) → the answer of each file: its most probable classes, of equal ones the earlier first."""
    probabilities, order = logits.softmax(1).sort(dim=1, descending=True, stable=True)
    ranked = zip(order[:, :top].tolist(), probabilities[:, :top].tolist(), strict=True)
    for file, (classes, shares), finite in zip(files, ranked, logits.isfinite().all(1).tolist(), strict=True):
        if finite:
            yield Prediction(file, tuple((labels[index], share) for index, share in zip(classes, shares, strict=True)))
        else:
            reason = "the model's answer is not finite (NaN or infinity); its weights or its dtype are at fault"
            yield Failure(file, f"{display_name(file)}: {reason}")


def list_images(images: ImageSource | Iterable[ImageSource]) -> Iterator[_Named]:
    """Yield every single image, in order: folders are walked, batches are taken apart; raises `InputError`."""
    is_one = isinstance(images, str | bytes | io.IOBase | np.ndarray | Tensor) or not isinstance(images, Iterable)
    sources: Any = [images] if is_one else images
    number = 0
    for source in sources:
        for image in _single(source, f"image {number}"):
            yield image if isinstance(image, Path) else f"image {number}", image
            number += 1


def _single(source: object, name: str) -> Iterable[_Single]:
    """Return the images of one source, which errors call `name`."""
    if isinstance(source, Path | str):
        return find_images([source])
    if isinstance(source, bytes | Image.Image):
        return [source]
    if isinstance(source, io.IOBase):
        return [_read_stream(source, name)]
    if isinstance(source, np.ndarray | Tensor) and source.ndim == 5:
        is_prepared = isinstance(source, Tensor) and source.is_floating_point()
        return list(source if is_prepared else np.asarray(source))
    if isinstance(source, np.ndarray):
        return _of_array(source, name)
    if isinstance(source, Tensor) and source.dim() in (3, 4):
        return _of_tensor(source, name)
    valid = "a path, bytes, an opened file, a PIL image, an array, a tensor of 3 to 5 dimensions"
    raise InputError(f"{name} is a {type(source).__name__}; valid: {valid}")


def _of_array(array: np.ndarray[Any, Any], name: str) -> Iterator[Image.Image]:
    """Yield the images of levels (H, W), (H, W, C), (N, H, W) or (N, H, W, C)."""
    is_batch = array.ndim == 4 or (array.ndim == 3 and array.shape[2] not in CHANNELS)
    for levels in array if is_batch else [array]:
        yield from_levels(levels, name)


def _of_tensor(tensor: Tensor, name: str) -> Iterator[Image.Image | Tensor]:
    """Yield the images of (C, H, W) or (N, C, H, W): floats, which are prepared, as they are, levels as pictures."""
    for image in tensor if tensor.dim() == 4 else [tensor]:
        yield image if image.is_floating_point() else from_levels(image.permute(1, 2, 0).cpu().numpy(), name)


def _read_stream(stream: Any, name: str) -> bytes:
    """Read a file from its beginning, as Pillow does."""
    with reading(name, "open it again"):
        if stream.seekable():
            stream.seek(0)
        content = stream.read()
    if not isinstance(content, bytes):
        raise InputError(f"{name} was opened as text; open it in binary mode, 'rb'")
    return content
