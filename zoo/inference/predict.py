"""Images → ranked labels, batch by batch and in order; a bad file is an answer too, not the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.device import usable_device
from zoo.contracts.sizes import PREDICTED_AT_ONCE
from zoo.data.images import display_name
from zoo.errors import InputError, OptionError
from zoo.factory import open_model
from zoo.inference.inputs import Named, Source, Transform, list_images
from zoo.inference.processes import ALONE, Processes
from zoo.inference.read_ahead import read_ahead
from zoo.terminal import printable
from zoo.weights import labels_of, stated_preprocessing

if TYPE_CHECKING:
    from zoo.catalog.schema import Preprocessing


@final
@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Attributes:
        file: as it was given; `image 3` for the fourth where it is not a file.
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
    """Why one file has no prediction.

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


def predict(
    model: ImageClassifier | str,
    images: Source | Iterable[Source],
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
        model: a network of the zoo, or a name or reference as `create_model` takes it, with its weight. A network that
            was fused (`model.fuse()`) answers faster; its probabilities differ by rounding.
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
        ModelNameError, TagError, HubError, WeightError: as `create_model` does.
    """
    network = _network(model, device)
    preprocessing, labels = stated_preprocessing(network), labels_of(network)
    count = min(top, len(labels))
    _check_arguments(network, preprocessing, labels, count, batch_size)
    answers = Predictions(_predict(network, list_images(images), preprocessing, labels, count, batch_size))
    if isinstance(images, Path | str) and len(answers) == 1 and isinstance(answers[0], Failure):
        raise InputError(answers[0].error)
    return answers


def _network(model: ImageClassifier | str, device: str | None) -> ImageClassifier:
    if isinstance(model, ImageClassifier):
        return model if device is None else model.to(usable_device(device))
    if not isinstance(model, str):
        raise OptionError(f"predict takes a network of the zoo or a name, not {type(model).__name__}")
    place = "cpu" if device is None else usable_device(device)
    return open_model(model, required=True, publishers=True).build(pretrained=True, device=place)


def predict_files(
    model: ImageClassifier,
    files: Iterable[Path | str | Failure],
    preprocessing: Preprocessing,
    labels: Sequence[str],
    top: int = 3,
    batch_size: int = PREDICTED_AT_ONCE,
    processes: Processes = ALONE,
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
        processes: among whom the batches are shared; all are given the same files.

    Returns:
        One answer a file, in the order of the files, as soon as its batch is done, and with several processes those of
        the batches beside it. Only the first process has answers; the others have none.

    Raises:
        InputError: at once, for arguments that do not fit the model.
    """
    _check_arguments(model, preprocessing, labels, top, batch_size)
    items = (file if isinstance(file, Failure) else Named(Path(file), Path(file)) for file in files)
    if processes.count == 1:
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
    """A batch for each process, then their answers, until there are no images left."""
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
    transform = Transform(preprocessing)

    def read(item: Named | Failure) -> _Prepared | Failure:
        return item if isinstance(item, Failure) else _read(item, transform)

    for batch in read_ahead(images, read, batch_size):
        good = [item.image for item in batch if isinstance(item, _Prepared)]
        answers = iter(_rank(_logits(model, torch.stack(good)), top) if good else ())
        for item in batch:
            yield item if isinstance(item, Failure) else _answer(item.file, next(answers), labels)


_Ranked = tuple[list[int], list[float]]
"""The classes that an answer ranks, and their probabilities."""


@final
@dataclass(frozen=True)
class _Prepared:
    """An image, (3, size, size), that is ready for the network."""

    file: Path | str
    image: Tensor


def _read(item: Named, transform: Transform) -> _Prepared | Failure:
    try:
        return _Prepared(item.name, item.image if isinstance(item.image, Tensor) else transform(item.image))
    except InputError as error:
        return Failure(item.name, str(error))


def _logits(model: ImageClassifier, images: Tensor) -> Tensor:
    """(N, 3, H, W) → (N, classes) float32 on the CPU."""
    weights = next(model.parameters())
    with model.evaluating():
        logits: Tensor = model(images.to(weights.device, weights.dtype))
        return logits.float().cpu()


def _rank(logits: Tensor, top: int) -> list[_Ranked | None]:
    """(N, classes) → for each image its classes and probabilities, of equal ones the earlier class first; or None."""
    probabilities, order = logits.softmax(1).sort(dim=1, descending=True, stable=True)
    ranked = zip(order[:, :top].tolist(), probabilities[:, :top].tolist(), strict=True)
    return [pair if good else None for pair, good in zip(ranked, logits.isfinite().all(1).tolist(), strict=True)]


def _answer(file: Path | str, ranked: _Ranked | None, labels: Sequence[str]) -> Prediction | Failure:
    """The answer of one file; a failure where its logits are not finite."""
    if ranked is None:
        reason = "the model's answer is not finite (NaN or infinity); its weights or its dtype are at fault"
        return Failure(file, f"{display_name(file)}: {reason}")
    return Prediction(file, tuple((labels[index], probability) for index, probability in zip(*ranked, strict=True)))
