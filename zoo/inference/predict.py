"""Classify images of any form, batch by batch and in order; a bad file is an answer too, not the end."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from zoo.catalog import Preprocessing
from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.device import usable_device
from zoo.contracts.sizes import PREDICTED_AT_ONCE
from zoo.data.images import Transform, display_name, find_images
from zoo.data.splits import cores, share_among
from zoo.errors import InputError, OptionError, printable
from zoo.factory import open_model
from zoo.inference.processes import Processes
from zoo.weights import labels_of, stated_preprocessing

Item = TypeVar("Item")
Read = TypeVar("Read")

ImageSource: TypeAlias = Path | str | Image.Image | np.ndarray[Any, Any] | Tensor
"""One image in any form, or a folder of image files, or a batch of images in one array or tensor."""

_AHEAD = 2
"""Batches that are decoded ahead of the network: with one it would wait for a large file."""


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
    """The reason for which one file has no prediction.

    Attributes:
        file: as it was given.
        error: the reason, naming the file.
    """

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
        image_size: pixels a side; None for the weight's own, or 224 without a weight.

    Returns:
        A function from a PIL image or a path to a tensor (3, size, size).

    Raises:
        ModelNameError, HubError, WeightError: as `create_model` does.
        OptionError: `model` is something else.
    """
    if isinstance(model, str):
        return Transform(open_model(model, listed=True).preprocessing(image_size))
    return Transform(stated_preprocessing(unwrapped(model, "transform"), image_size))


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
            it, with its weight. A network that was fused (`model.fuse()`) answers faster; its probabilities differ by
            rounding.
        images: one or many of: the path of an image file or of a folder with images, a PIL image, an array of uint8
            levels (H, W, 3), (H, W), (N, H, W, 3) or (N, H, W), a tensor of uint8 levels (C, H, W) or (N, C, H, W), a
            tensor of floats that `zoo.transform(model)` made.
        top: how many labels each answer ranks; of fewer classes all.
        batch_size: images that go through the network at once; probabilities differ by it in their last bits.
        device: where to compute, such as `cuda`; None for where the network is.

    Returns:
        A list with a `Prediction` for each image. A file that cannot be read has a `Failure` in its place.

    Raises:
        InputError: what was given is not an image, or a single file cannot be read; arguments that do not fit.
        ModelNameError, HubError, WeightError: as `create_model` does.
    """
    network = _network(model, device)
    preprocessing, labels = stated_preprocessing(network), labels_of(network)
    count = min(top, len(labels))
    _check_arguments(network, preprocessing, labels, count, batch_size)
    answers = Predictions(_predict(network, list_images(images), preprocessing, labels, count, batch_size))
    if isinstance(images, Path | str) and len(answers) == 1 and isinstance(answers[0], Failure):
        raise InputError(answers[0].error)
    return answers


def _network(model: object, device: str | None) -> ImageClassifier:
    if isinstance(model, str):
        place = "cpu" if device is None else usable_device(device)
        return open_model(model, required=True).build(pretrained=True, device=place)
    network = unwrapped(model, "predict")
    return network if device is None else network.to(usable_device(device))


def unwrapped(model: object, function: str) -> ImageClassifier:
    """Return the network in `torch.compile` or DataParallel, or itself; raises `OptionError` for anything else."""
    wrapped = model
    while isinstance(wrapped, nn.Module) and not isinstance(wrapped, ImageClassifier):
        dynamo = sys.modules.get("torch._dynamo")  # nothing is compiled before that is imported
        if isinstance(wrapped, nn.DataParallel | nn.parallel.DistributedDataParallel):
            wrapped = wrapped.module
        elif dynamo is not None and isinstance(wrapped, dynamo.OptimizedModule):
            wrapped = wrapped._orig_mod
        else:
            break
    if not isinstance(wrapped, ImageClassifier):
        raise OptionError(f"{function} takes a network of the zoo or a name, not {type(model).__name__}")
    return wrapped


def predict_files(
    model: ImageClassifier,
    files: Iterable[Path | str | Failure],
    preprocessing: Preprocessing,
    labels: Sequence[str],
    top: int = 3,
    batch_size: int = PREDICTED_AT_ONCE,
    processes: Processes | None = None,
) -> Iterator[Prediction | Failure]:
    """Classify image files, in eval mode and without gradients; the model's modes are restored after each batch.

    Args:
        model: with 3 input channels; images go to its device and type.
        files: decoded in threads, two batches of `batch_size` ahead of the network; those that cannot be read become
            a `Failure` in their place, and a `Failure` among them is passed on.
        preprocessing: of the model's weight.
        labels: a name for every class.
        top: how many labels each prediction ranks, 1 to the number of classes.
        batch_size: 1 or more; probabilities differ by it in their last bits.
        processes: among which the batches are shared; all are given the same files.

    Returns:
        One answer a file, in the order of the files, as soon as its batch is done, and with several processes those of
        the batches beside it. Only the first process has answers; the others have none.

    Raises:
        InputError: at once, for arguments that do not fit the model.
    """
    _check_arguments(model, preprocessing, labels, top, batch_size)
    items = (file if isinstance(file, Failure) else Named(Path(file), Path(file)) for file in files)
    if processes is None or processes.count == 1:
        return _predict(model, items, preprocessing, labels, top, batch_size)
    return _predict_shared(model, list(items), preprocessing, labels, top, batch_size, processes)


def _predict_shared(
    model: ImageClassifier,
    images: Sequence[Named | Failure],
    preprocessing: Preprocessing,
    labels: Sequence[str],
    top: int,
    batch_size: int,
    processes: Processes,
) -> Iterator[Prediction | Failure]:
    """Take a batch for each process, then gather their answers, until there are no images left."""
    rounds = range(0, len(images), batch_size * processes.count)
    own = [images[start + processes.index * batch_size :][:batch_size] for start in rounds]
    answers = _predict(model, chain.from_iterable(own), preprocessing, labels, top, batch_size)
    for batch in own:
        yield from processes.gather([*islice(answers, len(batch))])


def _check_arguments(
    model: ImageClassifier, preprocessing: Preprocessing, labels: Sequence[str], top: int, batch_size: int
) -> None:
    if len(labels) != model.num_classes:
        raise InputError(f"{model.spec} has {model.num_classes} classes, but {len(labels)} labels were given")
    if not 1 <= top <= len(labels):
        raise InputError(f"top={top} is out of range; valid: 1 to {len(labels)}, the classes of {model.spec}")
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size} is out of range; valid: 1 or more")
    if model.in_chans != 3:
        raise InputError(f"images are read as RGB, but {model.spec} has in_chans={model.in_chans}; build it with 3")
    if preprocessing.size < model.min_image_size:
        raise InputError(f"size={preprocessing.size} is too small; {model.spec} takes {model.min_image_size} or more")


def _predict(
    model: ImageClassifier,
    images: Iterator[Named | Failure],
    preprocessing: Preprocessing,
    labels: Sequence[str],
    top: int,
    batch_size: int,
) -> Iterator[Prediction | Failure]:
    prepare = Transform(preprocessing)

    def read(item: Named | Failure) -> tuple[Path | str, Tensor] | Failure:
        if isinstance(item, Failure):
            return item
        try:
            return item.name, item.image if isinstance(item.image, Tensor) else prepare(item.image)
        except InputError as error:
            return Failure(item.name, str(error))

    for batch in read_ahead(images, read, batch_size):
        good = [item[1] for item in batch if not isinstance(item, Failure)]
        answers = iter(_rank(_logits(model, _stacked(good)), top) if good else ())
        for item in batch:
            yield item if isinstance(item, Failure) else _answer(item[0], next(answers), labels)


def _stacked(images: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) > 1:
        raise InputError(
            f"tensors of the shapes {', '.join(map(str, sorted(shapes)))} do not make one batch; bring them to one "
            "size by zoo.transform(model), or give each its own call"
        )
    return torch.stack(list(images))


def _logits(model: ImageClassifier, images: Tensor) -> Tensor:
    """(N, 3, H, W) → (N, classes) float32 on the CPU."""
    weights = next(model.parameters())
    with model.evaluating():
        logits: Tensor = model(images.to(weights.device, weights.dtype))
        return logits.float().cpu()


_Ranked = tuple[list[int], list[float]]
"""The classes that an answer ranks, and their probabilities."""


def _rank(logits: Tensor, top: int) -> list[_Ranked | None]:
    """(N, classes) → for each image its classes and probabilities, of equal ones the earlier class first; or None."""
    probabilities, order = logits.softmax(1).sort(dim=1, descending=True, stable=True)
    ranked = zip(order[:, :top].tolist(), probabilities[:, :top].tolist(), strict=True)
    return [pair if good else None for pair, good in zip(ranked, logits.isfinite().all(1).tolist(), strict=True)]


def _answer(file: Path | str, ranked: _Ranked | None, labels: Sequence[str]) -> Prediction | Failure:
    """Return the answer of one file; a failure if its logits are not finite."""
    if ranked is None:
        reason = "the model's answer is not finite (NaN or infinity); its weights or its dtype are at fault"
        return Failure(file, f"{display_name(file)}: {reason}")
    return Prediction(file, tuple((labels[index], probability) for index, probability in zip(*ranked, strict=True)))


# Images of any form ---------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Named:
    """One image that is still to be prepared.

    Attributes:
        name: its path, or `image 3` if it has none.
        image: what was given.
    """

    name: Path | str
    image: Path | Image.Image | Tensor


def list_images(images: ImageSource | Iterable[ImageSource]) -> Iterator[Named]:
    """Yield every single image of what was given, in its order: folders are walked, batches are taken apart.

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


def read_ahead(
    items: Iterator[Item], read: Callable[[Item], Read], batch_size: int
) -> Generator[list[Read], None, None]:
    """Yield batches of what `read` makes of the items, in their order; the next two are read meanwhile, in threads.

    Args:
        items: taken two batches ahead, in this thread. What taking one raises comes after the batches before it.
        read: called in other threads, in no certain order.
        batch_size: items of a batch; the last one may have fewer.
    """
    workers = cores()

    def read_group(group: Sequence[Item]) -> list[Read]:
        return [read(item) for item in group]

    def collect(groups: list[Future[list[Read]]]) -> list[Read]:
        return list(chain.from_iterable(group.result() for group in groups))

    waiting: deque[list[Future[list[Read]]]] = deque()
    threads = ThreadPoolExecutor(workers, thread_name_prefix="decoding")
    try:
        while True:
            try:
                batch = list(islice(items, batch_size))
            except InputError:
                yield from map(collect, waiting)
                raise
            if not batch:
                break
            waiting.append([threads.submit(read_group, group) for group in share_among(batch, workers)])
            if len(waiting) > _AHEAD:
                yield collect(waiting.popleft())
        yield from map(collect, waiting)
    finally:  # also if the reader stops early
        threads.shutdown(cancel_futures=True)
