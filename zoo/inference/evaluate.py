"""How well a network classifies a split: top-k accuracy, loss, precision, recall and confusion of classes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.contracts.classifier import ImageClassifier
from zoo.data import ImageSplit
from zoo.data.images import normalise
from zoo.errors import InputError, missing_extra
from zoo.inference.batch import check_batch, choose_batch, telling_shortage
from zoo.terminal import Progress
from zoo.weights import stated_preprocessing

try:
    from torchmetrics import MeanMetric, Metric
    from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix
except ModuleNotFoundError as error:
    raise missing_extra(error, "measuring accuracy", "train") from error

Precision = Literal["no", "bf16", "fp16"]
METRIC_DIGITS = 4
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@final
@dataclass(frozen=True)
class ClassScore:
    """One class.

    Attributes:
        name: of the class.
        images: of it.
        recall: percent of them that were predicted as it; None without images.
        precision: percent of the images predicted as it that are of it; None where none was.
    """

    name: str
    images: int
    recall: float | None
    precision: float | None


@final
@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        images: how many.
        classes: names in the order of the logits.
        top: `top1`, and `top5` where there are more than five classes, in percent.
        loss: mean cross-entropy, in nats.
        confusion: (classes, classes) int64; row the true class, column the predicted one.
        batch_size: images that were classified at once. Another number rounds differently in the last bits, and may
            move an image that stands on an edge.
    """

    images: int
    classes: tuple[str, ...]
    top: dict[str, float]
    loss: float
    confusion: Tensor
    batch_size: int

    def scores(self) -> list[ClassScore]:
        """Class by class."""
        right, true, predicted = self.confusion.diag(), self.confusion.sum(1), self.confusion.sum(0)
        return [
            ClassScore(name, int(true[i]), _percent(right[i], true[i]), _percent(right[i], predicted[i]))
            for i, name in enumerate(self.classes)
        ]

    def mistakes(self, most: int = 10) -> list[tuple[str, str, int]]:
        """(true class, predicted class, images), the most frequent first."""
        errors = self.confusion - torch.diag(self.confusion.diag())
        counts, places = errors.flatten().sort(descending=True, stable=True)
        pairs = ((int(place), int(count)) for place, count in zip(places[:most], counts[:most], strict=True) if count)
        width = len(self.classes)
        return [(self.classes[place // width], self.classes[place % width], count) for place, count in pairs]

    def to_json(self) -> dict[str, Any]:
        """Everything, the confusion matrix as lists."""
        return {
            "images": self.images,
            "batch_size": self.batch_size,
            **self.top,
            "loss": self.loss if math.isfinite(self.loss) else None,  # JSON has no NaN
            "classes": [vars(score) for score in self.scores()],
            "confusion": self.confusion.tolist(),
        }


def _percent(part: Tensor, whole: Tensor) -> float | None:
    return 100 * int(part) / int(whole) if int(whole) else None


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """Without accelerate's autocast, which it puts around the forward of this very object."""
    wrapped = model.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped


def evaluate(
    model: ImageClassifier,
    data: ImageSplit,
    *,
    batch_size: int | None = None,
    trained: int | None = None,
    precision: Precision = "no",
    share: tuple[int, int] = (0, 1),
    after_batch: Progress = lambda images: None,
) -> Evaluation:
    """Classify a split, in eval mode; the model's modes are as before afterwards.

    Args:
        model: with as many classes as the data.
        data: whose classes are in the order of the logits.
        batch_size: images at once; None for 250, or of large images as many as take 1 GiB: see `choose_batch`.
        trained: images of a training step that is known to fit, which bounds that choice.
        precision: float32 ('no'), or autocast.
        share: (this process, processes): each takes its part of the batches, and all get the result of all.
        after_batch: called with the number of its images.

    Raises:
        InputError: other classes than the model's, an image too small for it, or no images at once.
        MemoryLimitError: that many images at once need more memory than there is.
    """
    check_batch(batch_size)
    if len(data.classes) != model.num_classes:
        raise InputError(
            f"{model.spec} has {model.num_classes} classes, the data {len(data.classes)}; "
            "evaluate it on data of its own classes"
        )
    device = next(model.parameters()).device
    metrics = {name: metric.to(device) for name, metric in _metrics(model.num_classes, share[1] > 1).items()}
    autocast = torch.autocast(device.type, _AUTOCAST.get(precision), enabled=precision != "no")
    with in_float32(model), model.evaluating(), autocast:
        asked, stated = batch_size is not None, stated_preprocessing(model)
        batch_size = batch_size or choose_batch(model, data.size, trained)
        for rows in torch.arange(len(data)).split(batch_size)[share[0] :: share[1]]:
            with telling_shortage(model, len(rows), data.size, asked):
                pixels, labels = data.read(rows)
                if len(labels):
                    _update(
                        metrics, model(normalise(pixels.to(device).float() / 255, stated)).float(), labels.to(device)
                    )
            after_batch(len(labels))
    return _conclude(metrics, data.classes, batch_size)


def _metrics(classes: int, shared: bool) -> dict[str, Metric]:
    """By name; of a top-k over all classes everything is right, so there is none."""
    tops = [k for k in (1, 5) if k == 1 or k < classes]
    common: dict[str, Any] = {"num_classes": classes, "sync_on_compute": shared}
    return {f"top{k}": MulticlassAccuracy(top_k=k, average="micro", **common) for k in tops} | {
        "loss": MeanMetric(sync_on_compute=shared),
        "confusion": MulticlassConfusionMatrix(**common),
    }


def _update(metrics: dict[str, Metric], logits: Tensor, labels: Tensor) -> None:
    for name, metric in metrics.items():
        if name == "loss":
            metric.update(functional.cross_entropy(logits, labels, reduction="none"))
        else:
            metric.update(logits, labels)


def _conclude(metrics: dict[str, Metric], classes: tuple[str, ...], batch_size: int) -> Evaluation:
    confusion = metrics["confusion"].compute().cpu()
    images = int(confusion.sum())
    if not images:
        raise InputError("no image of the split could be read, so nothing was measured; replace the damaged files")
    # The metric is a quotient in float32: 5,904 of 8,000 images are 73.8 %, not 73.7999975681305.
    tops = {name: float(metric.compute()) for name, metric in metrics.items() if name.startswith("top")}
    top = {name: 100 * round(share * images) / images for name, share in tops.items()}
    return Evaluation(images, classes, top, float(metrics["loss"].compute()), confusion, batch_size)


def rounded(evaluation: Evaluation, tops_alone: bool = False) -> dict[str, float]:
    """Top-k, and the loss, to four digits."""
    loss = {} if tops_alone else {"loss": evaluation.loss}
    return {name: round(value, METRIC_DIGITS) for name, value in (evaluation.top | loss).items()}
