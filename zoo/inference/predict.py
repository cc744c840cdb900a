"""Image files → ranked labels, batch by batch and in order; a bad file is an answer too, not the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, final

import torch
from torch import Tensor

from zoo.data.images import display_name, prepare, read_image
from zoo.errors import InputError

if TYPE_CHECKING:
    from zoo.catalog.schema import Preprocessing
    from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.sizes import PREDICTED_AT_ONCE


@final
@dataclass(frozen=True)
class Prediction:
    """What a model says of one file.

    Attributes:
        file: as it was given.
        ranked: (label, probability), the most probable first; probabilities are the softmax over all classes.
    """

    file: Path
    ranked: tuple[tuple[str, float], ...]


@final
@dataclass(frozen=True)
class Failure:
    """Why one file has no prediction.

    Attributes:
        file: as it was given.
        error: the reason, naming the file.
    """

    file: Path
    error: str


def predict(
    model: ImageClassifier,
    files: Iterable[Path | str | Failure],
    preprocessing: Preprocessing,
    labels: Sequence[str],
    top: int = 3,
    batch_size: int = PREDICTED_AT_ONCE,
) -> Iterator[Prediction | Failure]:
    """Classify image files, in eval mode and without gradients; the model's modes are restored after each batch.

    Args:
        model: with 3 input channels; images go to its device and type.
        files: read `batch_size` at a time; those that cannot be read become a `Failure` in their place, and a
            `Failure` among them is passed on.
        preprocessing: of the model's weight.
        labels: a name for every class.
        top: how many labels each prediction ranks, 1 to the number of classes.
        batch_size: 1 or more; probabilities differ by it in their last bits.

    Returns:
        One answer a file, in the order of the files, as soon as its batch is done.

    Raises:
        InputError: at once, for arguments that do not fit the model.
    """
    _check_arguments(model, preprocessing, labels, top, batch_size)
    items = (file if isinstance(file, Failure) else Path(file) for file in files)
    return _predict(model, items, preprocessing, labels, top, batch_size)


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
    files: Iterator[Path | Failure],
    preprocessing: Preprocessing,
    labels: Sequence[str],
    top: int,
    batch_size: int,
) -> Iterator[Prediction | Failure]:
    while chunk := list(islice(files, batch_size)):
        read = [file if isinstance(file, Failure) else _read(file, preprocessing) for file in chunk]
        good = [item.image for item in read if isinstance(item, _Prepared)]
        logits = iter(_logits(model, torch.stack(good)) if good else ())
        for item in read:
            yield item if isinstance(item, Failure) else _rank(item.file, next(logits), labels, top)


@final
@dataclass(frozen=True)
class _Prepared:
    """A file whose image, (3, size, size), is ready for the network."""

    file: Path
    image: Tensor


def _read(file: Path, preprocessing: Preprocessing) -> _Prepared | Failure:
    try:
        return _Prepared(file, prepare(read_image(file), preprocessing))
    except InputError as error:
        return Failure(file, str(error))


def _logits(model: ImageClassifier, images: Tensor) -> Tensor:
    """(N, 3, H, W) → (N, classes) float32 on the CPU."""
    weights = next(model.parameters())
    with model.evaluating():
        logits: Tensor = model(images.to(weights.device, weights.dtype))
        return logits.float().cpu()


def _rank(file: Path, logits: Tensor, labels: Sequence[str], top: int) -> Prediction | Failure:
    """The answer of one file from its logits, (classes,); of equal ones the earlier class comes first."""
    if not torch.isfinite(logits).all():
        reason = "the model's answer is not finite (NaN or infinity); its weights or its dtype are at fault"
        return Failure(file, f"{display_name(file)}: {reason}")
    probabilities, order = logits.softmax(0).sort(descending=True, stable=True)
    ranked = zip(order[:top].tolist(), probabilities[:top].tolist(), strict=True)
    return Prediction(file, tuple((labels[index], probability) for index, probability in ranked))


def usable_device(name: str) -> str:
    """`name`, where torch can compute on that device.

    Raises:
        InputError: it is not a device, or not one of this machine.
    """
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"cannot compute on device {name!r}: {reason}; --device cpu always works") from error
    return name
