"""The result of a run as a folder that the zoo loads: model.safetensors and config.json beside the run's own files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from zoo.catalog.schema import StoredWeight
from zoo.contracts.classifier import ImageClassifier
from zoo.errors import SaveError, TrainingError, WeightError
from zoo.inference.evaluate import Evaluation
from zoo.registry import Registry
from zoo.saving import ModelFolder, Statement, fold
from zoo.training.files import replace_bytes
from zoo.training.observers.base import EpochRow
from zoo.weights import CONFIG, MODEL, RUN, read_config

_FEW_STEPS = 10
"""Below, a weight is that of a trial, whatever its figures are."""


@final
@dataclass(frozen=True)
class TrainingResult:
    """A finished run.

    Attributes:
        folder: with model.safetensors, config.json, run.json, metrics.csv, curves.png and the checkpoint.
        weight: the record in config.json.
        evaluation: of the final weights, on the validation split.
        rows: one for each epoch.
        notes: what a reader must know.
    """

    folder: Path
    weight: StoredWeight
    evaluation: Evaluation
    rows: tuple[EpochRow, ...]
    notes: tuple[str, ...]

    @property
    def reference(self) -> str:
        """What `create_model`, `zoo predict --model` and `zoo publish` take."""
        return f"local-dir:{self.folder}"

    @property
    def missing(self) -> tuple[str, ...]:
        """Why nobody should publish the weight yet, in words; empty for one that learned something."""
        steps, confusion = self.rows[-1].step, self.evaluation.confusion
        reasons = []
        if steps < _FEW_STEPS:
            counted = "1 training step is" if steps == 1 else f"{steps} training steps are"
            reasons.append(f"{counted} too few to learn from; take more epochs, or more images")
        guessed = 100 * int(confusion.sum(1).max()) / self.evaluation.images
        if self.evaluation.top["top1"] <= guessed:
            reasons.append(
                f"its top-1 of {self.evaluation.top['top1']:.2f} % is not above the {guessed:.2f} % of an answer that "
                "always names the most frequent class; train longer, or on more images"
            )
        return tuple(reasons)

    @property
    def metrics(self) -> dict[str, float]:
        """`top1`, `top5` where there are more than five classes, in percent, and `loss`."""
        return self.evaluation.top | {"loss": self.evaluation.loss}

    def to_json(self) -> dict[str, Any]:
        """The summary that `zoo train --json` prints."""
        last = self.rows[-1]
        return {
            "name": self.weight.name,
            "load": self.reference,
            "folder": str(self.folder),
            **self.metrics,
            "validation_images": self.evaluation.images,
            "eval_batch_size": self.evaluation.batch_size,
            "epochs": last.epoch,
            "steps": last.step,
            "seconds": round(sum(row.seconds for row in self.rows), 3),
            "train_loss": last.train_loss,
            "train_top1": last.train_top1,
            "spike_rate": last.spike_rate,
            "params": self.weight.figures.params,
            "macs": self.weight.figures.macs,
            "sha256": self.weight.sha256,
            "notes": list(self.notes),
            "missing": list(self.missing),
        }


def write_run(out: Path, content: Mapping[str, Any]) -> None:
    """run.json: what was asked for, from the beginning on, and what came of it, at the end."""
    text = json.dumps(content, indent=1, ensure_ascii=False, default=str)
    # A path may hold bytes of another encoding, as lone surrogates; written as \\udc…, they are JSON.
    replace_bytes(out / RUN, (text + "\n").encode("utf-8", "backslashreplace"))


def write_weights(
    model: ImageClassifier, name: str, statement: Statement, out: Path, registry: Registry | None = None
) -> StoredWeight:
    """model.safetensors, then config.json, which makes the folder complete; the record in it.

    Where no figures are stated and the folder holds the very same weight with figures, these stay.

    Args:
        model: with its final weights.
        name: `variant.tag`.
        statement: what cannot be counted.
        out: the folder.
        registry: components that it is made of; the installed ones by default.

    Raises:
        TrainingError: the folder cannot be written, or would not load.
    """
    try:
        folder = fold(model, name, statement, registry)
        if not folder.weight.metrics:
            folder = folder.with_metrics(_known_metrics(out / CONFIG, folder.weight.sha256), registry)
        folder.write(out, overwrite=True)
    except SaveError as error:
        raise _unwritten(error) from error
    return folder.weight


def write_metrics(
    weight: StoredWeight, metrics: Mapping[str, float], out: Path, registry: Registry | None = None
) -> StoredWeight:
    """The record of a weight that lies in the folder, with its figures, in config.json too; raises `TrainingError`."""
    folder = ModelFolder(weight, {}).with_metrics(metrics, registry)
    try:
        folder.write(out, overwrite=True)
    except SaveError as error:
        raise _unwritten(error) from error
    return folder.weight


def _unwritten(error: SaveError) -> TrainingError:
    return TrainingError(f"{error}; make room where the disk is full, then go on with --resume")


def remove_weights(out: Path) -> None:
    """Take a weight out of the folder; its config.json first, without which the folder does not load."""
    for name in (CONFIG, MODEL):
        (out / name).unlink(missing_ok=True)


def _known_metrics(config: Path, sha256: str) -> dict[str, float]:
    """The figures in a config.json that is of these very bytes; none in any other."""
    if not config.is_file():
        return {}
    try:
        weight = read_config(config.read_bytes(), str(config))
    except WeightError:  # it is written anew, whatever it was
        return {}
    return weight.metrics if weight.sha256 == sha256 else {}
