"""A published or trained weight, measured on data: `zoo eval` as a function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

from zoo.catalog.catalog import Catalog
from zoo.catalog.schema import StoredWeight
from zoo.catalog.sources import LocalFolder, RunCheckpoint
from zoo.contracts.device import usable_device
from zoo.data import ImageSplit, load_data, load_split
from zoo.data.in_hand import ImagesInHand, InHand, in_hand
from zoo.data.limit import limit_images
from zoo.data.prepare import DataOptions, damage_notes
from zoo.data.run_json import identify_data, measured_with, trained_on
from zoo.data.size import Framing
from zoo.factory import OpenedModel, open_model
from zoo.inference.batch import check_batch
from zoo.inference.evaluate import Evaluation, Precision, evaluate
from zoo.inference.processes import ALONE, Processes
from zoo.registry import Registry
from zoo.terminal import Progress

_FOLDERS = (LocalFolder, RunCheckpoint)
"""Sources that may be a run's own folder."""


@final
@dataclass(frozen=True)
class Measurement:
    """What was measured, of what, on what.

    Attributes:
        name: of the weight.
        sha256: of its file.
        recorded: the figures that its record states; none where no catalog lists it.
        data: where the images are from.
        evaluation: the figures.
        notes: what a reader must know.
    """

    name: str
    sha256: str
    recorded: Mapping[str, float]
    data: str
    evaluation: Evaluation
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """One object, as `zoo eval --json` prints it."""
        about = {"name": self.name, "sha256": self.sha256, "data": self.data, "notes": list(self.notes)}
        return about | self.evaluation.to_json() | {"recorded": dict(self.recorded)}


def measure_weight(
    name: str,
    data: str | Path | InHand,
    *,
    split: Literal["train", "val"] = "val",
    options: DataOptions | None = None,
    batch_size: int | None = None,
    precision: Precision = "no",
    device: str = "cpu",
    endpoint: str | None = None,
    cache_dir: Path | str | None = None,
    token: str | None = None,
    registry: Registry | None = None,
    catalog: Catalog | None = None,
    processes: Processes = ALONE,
    begin: Callable[[int], None] = lambda images: None,
    after_batch: Progress = lambda images: None,
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
        endpoint, cache_dir, token, registry, catalog: as for `create_model`.
        processes: among whom the batches are shared; all get the measurement of all.
        begin: called with the number of images, before the first.
        after_batch: called with the number of images done, of several processes by this one alone.

    Raises:
        TagError, WeightError, HubError: as `create_model` does.
        InputError: the data cannot be used, or have classes that the weight lacks.
        MemoryLimitError: so many images at once need more memory than there is.
    """
    check_batch(batch_size)
    options = options or DataOptions()
    named = data if isinstance(data, str | Path) else in_hand(data)
    with processes.first_ahead():
        opened = open_model(
            name,
            required=True,
            publishers=True,
            endpoint=endpoint,
            cache_dir=cache_dir,
            token=token,
            registry=registry,
            catalog=catalog,
        )
        images, notes = _load(opened, named, split, options)
        model = opened.build(pretrained=True, device=usable_device(device))
    images = limit_images(images, options.limit)
    begin(len(images))
    trained_with = measured_with(opened.source.path) if isinstance(opened.source, _FOLDERS) else None
    evaluation = evaluate(
        model,
        images,
        batch_size=batch_size,
        trained=trained_with,
        precision=precision,
        share=processes.share,
        after_batch=after_batch,
    )
    if isinstance(opened.source, RunCheckpoint):
        notes = [opened.source.note, *notes]
    notes += _remarks(opened.weight, evaluation, images)
    sha256, recorded = str(model.pretrained_cfg.get("sha256", "")), {}
    if opened.weight is not None:
        sha256, recorded = opened.weight.sha256, opened.weight.metrics
    return Measurement(opened.weight_name, sha256, recorded, images.origin, evaluation, tuple(notes))


def _load(
    opened: OpenedModel,
    data: str | Path | ImagesInHand,
    split: Literal["train", "val"],
    options: DataOptions,
) -> tuple[ImageSplit, list[str]]:
    stated = opened.preprocessing(options.image_size)
    common: dict[str, Any] = {
        "image_size": stated.size,
        "root": options.root,
        "max_damaged": options.max_damaged,
        "download": options.download,
    }
    if isinstance(opened.source, _FOLDERS) and trained_on(opened.source.path) == identify_data(data):
        splits = load_data(data, **common)
        if splits.train.classes == opened.labels:
            chosen = splits.train if split == "train" else splits.val
            return chosen, [f"of the data that it was trained on, the {split} part"]
    framing = Framing(stated.interpolation, stated.crop_pct)
    return load_split(data, split, classes=opened.labels, framing=framing, **common), []


def _remarks(weight: StoredWeight | None, evaluation: Evaluation, images: ImageSplit) -> list[str]:
    notes = damage_notes(images, "evaluated")
    if weight is not None and weight.control:
        begun = ", which it started from" if weight.control == weight.started_from else ""
        notes.append(f"its control, the network without spikes to compare it with, is {weight.control}{begun}")
    without = [score.name for score in evaluation.scores() if not score.images]
    if without:
        rest = f" and {len(without) - 5} more" if len(without) > 5 else ""
        notes.append(f"no images of {len(without)} classes that the model knows: {', '.join(without[:5])}{rest}")
    return notes
