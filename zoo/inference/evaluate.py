"""Measure a network: top-k accuracy, loss, precision, recall and confusion of classes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.contracts.classifier import ImageClassifier
from zoo.data import DataOptions, ImageSplit, load_data, load_split
from zoo.data.datasets import InMemory, name_some, open_in_memory
from zoo.data.images import Transform, display_name, reading
from zoo.data.load import identify_data
from zoo.data.splits import limit_images
from zoo.device import usable_device
from zoo.errors import InputError, MemoryLimitError
from zoo.models.factory import DEFAULT_PLACES, OpenedModel, Places, open_model
from zoo.names import LocalFolder
from zoo.processes import gather, share_lists
from zoo.profiling.exits import MACHINES, exit_costs
from zoo.progress import LONG, progress
from zoo.weights.load import RUN, stated_preprocessing

MOST = 250
"""Images at once of at most 64×64 pixels, and of larger ones as many as have the same pixels. The released weights were
measured so. The number never follows from free memory: another one rounds differently in the last bits, and a figure
must be the same on every machine."""


@final
@dataclass(frozen=True)
class Evaluation:
    """Figures of a network on a split.

    Attributes:
        images: number of images.
        classes: names in the order of the logits.
        top: `top1`, and `top5` if there are more than five classes, in percent.
        loss: mean cross-entropy, in nats.
        confusion: (classes, classes) int64; row the true class, column the predicted one.
        batch_size: images that were classified at once. Another number rounds differently, which flips bit planes of
            a hybrid and may change the answer for an image on an edge.
        timesteps: that an image took in the mean, with `early_exit`; else None.
        exits: machine → additions and sequential steps of an image in the mean, with `early_exit`: see `exit_costs`.
    """

    images: int
    classes: tuple[str, ...]
    top: dict[str, float]
    loss: float
    confusion: Tensor
    batch_size: int
    timesteps: float | None = None
    exits: dict[str, tuple[float, float]] = field(default_factory=dict)

    def scores(self) -> list[dict[str, Any]]:
        """Return `name`, `images`, `recall` and `precision` of every class, in percent; None without such images."""
        columns = self.confusion.diag(), self.confusion.sum(1), self.confusion.sum(0)
        rows = zip(self.classes, *(column.tolist() for column in columns), strict=True)
        return [
            {"name": name, "images": true, "recall": _percent(right, true), "precision": _percent(right, predicted)}
            for name, right, true, predicted in rows
        ]

    def mistakes(self, most: int = 10) -> list[tuple[str, str, int]]:
        """Return (true class, predicted class, images), the most frequent first."""
        errors = self.confusion - torch.diag(self.confusion.diag())
        counts, places = errors.flatten().sort(descending=True, stable=True)
        pairs = ((int(place), int(count)) for place, count in zip(places[:most], counts[:most], strict=True) if count)
        width = len(self.classes)
        return [(self.classes[place // width], self.classes[place % width], count) for place, count in pairs]

    def to_json(self) -> dict[str, Any]:
        """Return everything, the confusion matrix as lists."""
        return {
            "images": self.images,
            "batch_size": self.batch_size,
            **({} if self.timesteps is None else {"timesteps": self.timesteps, "exits": self.exits}),
            **self.top,
            "loss": self.loss if math.isfinite(self.loss) else None,  # JSON has no NaN
            "classes": self.scores(),
            "confusion": self.confusion.tolist(),
        }


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def evaluate(
    model: ImageClassifier,
    data: ImageSplit,
    *,
    batch_size: int | None = None,
    share: tuple[int, int] = (0, 1),
    early_exit: float | None = None,
) -> Evaluation:
    """Classify a split in float32 and eval mode; the model's modes are restored afterwards.

    Args:
        model: with as many classes as the data.
        data: whose classes are in the order of the logits.
        batch_size: images at once; None for `MOST`.
        share: (this process, processes): each takes its part of the batches, and all get the result of all.
        early_exit: probability of a class from which on an image takes no further timestep; see `answer_early`.

    Raises:
        InputError: other classes than the model's, an image too small for it, no images at once, or `early_exit` and
            a network that does not stream.
        MemoryLimitError: that many images at once need more memory than there is.
    """
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size={batch_size} is out of range; valid: 1 or more")
    if len(data.classes) != model.num_classes:
        classes = f"{model.num_classes} classes, the data {len(data.classes)}"
        raise InputError(f"{model.spec} has {classes}; evaluate it on data of its own classes")
    at_once = batch_size or max(1, min(MOST, MOST * 64**2 // math.prod(data.size)))
    device, transform = next(model.parameters()).device, Transform(stated_preprocessing(model))
    shared = share[1] > 1
    confusion, in_top5 = torch.zeros(model.num_classes, model.num_classes, dtype=torch.int64), 0
    sums: list[Tensor] = []  # of each batch: images, losses, timesteps, costs of exits
    own = torch.arange(len(data)).split(at_once)[share[0] :: share[1]]
    bar = progress("measuring", sum(map(len, own)), visible=len(data) >= LONG)
    with in_float32(model), model.evaluating(), bar as advance:
        for rows in own:
            with translate_memory_errors(model, len(rows), data.size):
                pixels, labels = data.read(rows)
                timesteps = losses = torch.zeros(0, device=device)
                costs = torch.zeros(0, 2 * len(MACHINES), device=device)
                if len(labels):
                    x, targets = transform.scale(pixels.to(device)), labels.to(device)
                    if early_exit is None:
                        logits = model(x).float()
                    else:
                        logits, timesteps = answer_early(model, x, early_exit)
                        costs = exit_costs(model, x, timesteps)
                    confusion += count_pairs(labels, logits.argmax(1).cpu(), model.num_classes)
                    in_top5 += count_in_top(logits, targets, 5)
                    losses = functional.cross_entropy(logits, targets, reduction="none")
                own_sums = torch.stack([losses.new_tensor(len(labels)), losses.sum(), timesteps.sum()])
                sums.append(torch.cat([own_sums, costs.sum(0)]).double().cpu())
            advance(len(rows))
    if shared:
        confusion, in_top5 = torch.stack(gather(confusion)).sum(0), sum(gather(in_top5))
    images = int(confusion.sum())
    if not images:
        raise InputError("no image of the split could be read, so nothing was measured; replace the damaged files")
    top = _percentages(confusion, in_top5)
    loss, steps, *costs_of_exits = _means(share_lists(sums) if shared else sums)
    if early_exit is None:
        return Evaluation(images, data.classes, top, loss, confusion, at_once)
    exits = dict(zip(MACHINES, zip(costs_of_exits[::2], costs_of_exits[1::2], strict=True), strict=True))
    return Evaluation(images, data.classes, top, loss, confusion, at_once, steps, exits)


def count_pairs(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Count how often each class (row) is predicted as each (column), of indices (N,): the confusion matrix, int64."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def count_in_top(logits: Tensor, labels: Tensor, k: int) -> int:
    """Count the labels (N,) that are among the `k` largest logits (N, classes) of their image."""
    largest = logits.topk(min(k, logits.shape[1])).indices
    return int((largest == labels[:, None]).sum())


def _percentages(confusion: Tensor, in_top5: int) -> dict[str, float]:
    """Return top-1, and top-5 unless five are all classes, so that it is always right."""
    images = int(confusion.sum())
    top1 = {"top1": 100 * int(confusion.trace()) / images}
    return top1 | ({"top5": 100 * in_top5 / images} if len(confusion) > 5 else {})


def _means(sums: Sequence[Tensor]) -> list[float]:
    """Return the means of an image by the sums of batches, images first, added in the order of one process."""
    total = sum(sums, torch.zeros_like(sums[0]))
    means: list[float] = (total[1:] / total[0]).tolist()
    return means


def answer_early(model: ImageClassifier, x: Tensor, sure: float) -> tuple[Tensor, Tensor]:
    """Classify each image as soon as the network is sure of it.

    Args:
        model: that streams: `sew` or `snn` with `direct` or `frames`, and neurons that do not wait.
        x: images (N, C, H, W), or frames (N, T, C, H, W).
        sure: a class's probability, in (0, 1], at which an image takes no further timestep.

    Returns:
        Logits (N, classes), and the timesteps that each image took (N,).

    Raises:
        InputError: the network does not stream, `x` is no input of it, or `sure` is no probability.
    """
    model.check_image(x)  # and a stream checks the values
    if not 0 < sure <= 1:
        raise InputError(f"early_exit={sure} is out of range; valid: over 0, at most 1")
    frames = x.unbind(1) if x.dim() == 5 else [x] * model.timesteps
    logits = x.new_zeros(len(x), model.num_classes)
    timesteps = torch.zeros(len(x), device=x.device)
    unsure = torch.ones(len(x), dtype=torch.bool, device=x.device)
    with model.streaming() as stream:
        for frame in frames:
            now = stream(frame).float()
            logits[unsure] = now[unsure]
            timesteps[unsure] += 1
            unsure &= now.softmax(1).amax(1) < sure
            if not unsure.any():
                break
    return logits, timesteps


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """Take away accelerate's autocast, which it puts around the forward of the model itself."""
    wrapped = model.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped


def rounded(evaluation: Evaluation, tops_alone: bool = False) -> dict[str, float]:
    """Return top-k, and the loss, to four digits."""
    loss = {} if tops_alone else {"loss": evaluation.loss}
    return {name: round(value, 4) for name, value in (evaluation.top | loss).items()}


@contextmanager
def translate_memory_errors(
    model: ImageClassifier, images: int, size: tuple[int, int], argument: str = "batch_size"
) -> Iterator[None]:
    """Convert out-of-memory errors to a `MemoryLimitError`; `argument` sets the number of images."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        from accelerate.utils.memory import should_reduce_batch_size

        short = isinstance(error, MemoryError) or "not enough memory" in str(error) or "bad_alloc" in str(error)
        if not short and not should_reduce_batch_size(error):
            raise
        advice = f"choose a {argument} of {images // 2} or less" if images > 1 else "choose smaller images"
        what = f"{model.spec}: {images} images of {size[1]}×{size[0]} pixels"
        raise MemoryLimitError(f"{what} need more memory than there is; {advice}") from error


@final
@dataclass(frozen=True)
class Measurement:
    """Figures of a weight on data.

    Attributes:
        name: of the weight.
        sha256: of its file.
        recorded: the figures in its record; none if no catalog lists it.
        data: source of the images.
        evaluation: the figures.
        notes: for the reader.
    """

    name: str
    sha256: str
    recorded: Mapping[str, float]
    data: str
    evaluation: Evaluation
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return one object, as `zoo eval --json` prints it."""
        about = {"name": self.name, "sha256": self.sha256, "data": self.data, "notes": list(self.notes)}
        return about | self.evaluation.to_json() | {"recorded": dict(self.recorded)}


def measure_weight(
    name: str,
    data: str | Path | InMemory,
    *,
    split: Literal["train", "val"] = "val",
    options: DataOptions | None = None,
    batch_size: int | None = None,
    device: str = "cpu",
    early_exit: float | None = None,
    share: tuple[int, int] = (0, 1),
    places: Places = DEFAULT_PLACES,
) -> Measurement:
    """Measure a weight on a split, its classes matched by name.

    Data of one undivided set of images are taken whole; but those that the checkpoint's own run divided are divided
    again, so that its training images are left out.

    Args:
        name: `variant.tag`, `local-dir:` or `hf-hub:`; a variant alone means its first weight.
        data: as for `load_split`.
        split: the one to measure, if the data have both.
        options: for reading the data; the checkpoint's image size by default.
        batch_size: images at once; None for 250, fewer if they are large.
        device: to compute on.
        early_exit, share: as for `evaluate`.
        places: that models are looked for in.

    Raises:
        ModelNameError, WeightError, HubError: as `create_model` does.
        InputError: the data cannot be used, or have classes that the weight lacks.
        MemoryLimitError: so many images at once need more memory than there is.
    """
    options = options or DataOptions()
    if share[1] > 1:
        options = replace(options, in_memory_bytes=0)  # each process decodes its share alone
    opened = open_model(name, places, required=True)
    images, notes = _load(opened, data if isinstance(data, str | Path) else open_in_memory(data), split, options)
    images = limit_images(images, options.limit)
    model = opened.build(pretrained=True, device=usable_device(device)).drop_timesteps()
    evaluation = evaluate(model, images, batch_size=batch_size, share=share, early_exit=early_exit)
    if share[1] > 1:
        images.gather_damaged()
    notes += images.damage_notes("evaluated")
    without = [score["name"] for score in evaluation.scores() if not score["images"]]
    if without:
        notes.append(f"no images of {len(without)} classes that the model knows: {name_some(without)}")
    recorded = opened.weight.metrics if opened.weight else {}
    sha256 = opened.weight.sha256 if opened.weight else str(model.pretrained_cfg.get("sha256", ""))
    return Measurement(opened.weight_name, sha256, recorded, images.origin, evaluation, tuple(notes))


def _load(
    opened: OpenedModel, data: Any, split: Literal["train", "val"], options: DataOptions
) -> tuple[ImageSplit, list[str]]:
    preprocessing = opened.preprocessing(options.image_size)
    if (known := _trained_on(opened)) and known == identify_data(data):
        splits = load_data(data, replace(options, image_size=preprocessing.size, limit=None))
        if splits.train.classes == opened.labels:
            chosen = splits.train if split == "train" else splits.val
            return chosen, [f"of the data that it was trained on, the {split} part"]
    return load_split(data, split, options, classes=opened.labels, preprocessing=preprocessing), []


def _trained_on(opened: OpenedModel) -> str | None:
    """Return the data of the run whose folder was opened, as its run.json identifies them; None without one."""
    file = opened.source.path / RUN if isinstance(opened.source, LocalFolder) else None
    if file is None or not file.is_file():
        return None
    with reading(display_name(file), "`zoo train` writes it again"):
        return str(json.loads(file.read_text(encoding="utf-8"))["asked"]["data"])
