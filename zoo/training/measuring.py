"""A published or trained weight, measured on data: `zoo eval` as a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zoo.factory import create_model
from zoo.predicting import usable_device
from zoo.records import StoredWeight
from zoo.sources import LocalFolder
from zoo.training.batching import check_batch
from zoo.training.datasets import ImageSplit, load_data, load_split
from zoo.training.datasets.sizing import INTERPOLATION
from zoo.training.evaluating import Evaluation, Precision, evaluate
from zoo.training.limiting import limit_images
from zoo.training.preparing import DataOptions, damage_notes
from zoo.training.results import identify_data, measured_with, trained_on
from zoo.weights import Found, HubAccess, find_weight


@dataclass(frozen=True)
class Measurement:
    """What was measured, of what, on what.

    Attributes:
        weight: its record.
        data: where the images are from.
        evaluation: the figures.
        notes: what a reader must know.
    """

    weight: StoredWeight
    data: str
    evaluation: Evaluation
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """One object, as `zoo eval --json` prints it."""
        about = {"name": self.weight.name, "sha256": self.weight.sha256, "data": self.data, "notes": list(self.notes)}
        return about | self.evaluation.to_json() | {"recorded": self.weight.metrics}


def measure_weight(
    name: str,
    data: str | Path,
    *,
    split: Literal["train", "val"] = "val",
    options: DataOptions | None = None,
    batch_size: int | None = None,
    precision: Precision = "no",
    device: str = "cpu",
    begin: Callable[[int], None] = lambda images: None,
    after_batch: Callable[[int], None] = lambda images: None,
) -> Measurement:
    """Measure a weight on a split, its classes matched by name.

    Data that hold one undivided set of images are taken whole; but those that the weight's own run divided are divided
    again, so that what it was trained on is left out.

    Args:
        name: `variant.tag`, `local-dir:` or `hf-hub:`; a variant alone means its first weight.
        data: as for `load_split`.
        split: which one, where the data have both.
        options: how the data are read; the weight's image size by default.
        batch_size: images at once; None for 250, or of large images as many as take 1 GiB, and of a run's folder no
            more than the run itself was measured with.
        precision: float32 ('no'), or autocast.
        device: where to compute.
        begin: called with the number of images, before the first.
        after_batch: called with the number of images done.

    Raises:
        TagError, WeightError, HubError: as `create_model` does.
        InputError: the data cannot be used, or have classes that the weight lacks.
        MemoryLimitError: so many images at once need more memory than there is.
    """
    check_batch(batch_size)
    options = options or DataOptions()
    found = find_weight(name, HubAccess(), required=True)
    weight = found.weight
    assert weight is not None  # it was required
    images, notes = _load(found, weight, data, split, options)
    images = limit_images(images, options.limit)
    model = create_model(found.loads, pretrained=True, device=usable_device(device))
    begin(len(images))
    own = measured_with(found.source.path) if isinstance(found.source, LocalFolder) else None
    evaluation = evaluate(
        model, images, batch_size=batch_size, trained=own, precision=precision, after_batch=after_batch
    )
    return Measurement(weight, images.origin, evaluation, (*notes, *_remarks(weight, evaluation, images)))


def _load(
    found: Found, weight: StoredWeight, data: str | Path, split: Literal["train", "val"], options: DataOptions
) -> tuple[ImageSplit, list[str]]:
    common: dict[str, Any] = {
        "image_size": options.image_size or weight.preprocessing.size,
        "root": options.root,
        "max_damaged": options.max_damaged,
        "download": options.download,
    }
    if isinstance(found.source, LocalFolder) and trained_on(found.source.path) == identify_data(data):
        splits = load_data(data, **common)
        if splits.train.classes == weight.labels:
            chosen = splits.train if split == "train" else splits.val
            return chosen, [f"of the data that it was trained on, the {split} part"]
    return load_split(data, split, classes=weight.labels, **common), []


def _remarks(weight: StoredWeight, evaluation: Evaluation, images: ImageSplit) -> list[str]:
    notes = damage_notes(images, "evaluated")
    without = [score.name for score in evaluation.scores() if not score.images]
    if without:
        more = f" and {len(without) - 5} more" if len(without) > 5 else ""
        notes.append(f"no images of {len(without)} classes that the model knows: {', '.join(without[:5])}{more}")
    if weight.preprocessing.interpolation != INTERPOLATION:
        notes.append(
            f"images were resized by {INTERPOLATION}, the weight asks for {weight.preprocessing.interpolation}"
        )
    return notes
