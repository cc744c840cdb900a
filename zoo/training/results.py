"""The result of a run as a folder that the zoo loads: model.safetensors and config.json beside the run's own files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.contracts.modules import ImageClassifier
from zoo.errors import InputError, SaveError, TrainingError
from zoo.records import StoredWeight
from zoo.registry import Registry
from zoo.saving import Statement, fold
from zoo.training.evaluating import Evaluation
from zoo.training.files import replace_bytes
from zoo.training.observing import EpochRow
from zoo.weights.config import RUN

METRIC_DIGITS = 4


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
        }


def write_run(out: Path, content: Mapping[str, Any]) -> None:
    """run.json: what was asked for, from the beginning on, and what came of it, at the end."""
    text = json.dumps(content, indent=1, ensure_ascii=False, default=str)
    replace_bytes(out / RUN, (text + "\n").encode())


def identify_data(data: object) -> str:
    """What run.json calls the data: a whole path, or the name of a data set; '' for splits that were loaded before."""
    if not isinstance(data, str | Path):
        return ""
    path = Path(data).expanduser()
    return str(path.resolve()) if path.exists() else str(data)


def trained_on(folder: Path) -> str | None:
    """`identify_data` of what the run in that folder was trained on; None where the folder holds no run.

    Raises:
        InputError: its run.json cannot be read.
    """
    file = folder / RUN
    if not file.is_file():
        return None
    try:
        data = json.loads(file.read_text(encoding="utf-8"))["asked"]["data"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} cannot be read ({type(error).__name__}); `zoo train` writes it anew") from error
    return str(data) or None


def write_weights(
    model: ImageClassifier, name: str, statement: Statement, out: Path, registry: Registry | None = None
) -> StoredWeight:
    """model.safetensors, then config.json, which makes the folder complete; the record in it.

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
        made = fold(model, name, statement, registry)
        made.write_into(out)
    except SaveError as error:
        raise TrainingError(f"{error}; make room where the disk is full, then go on with --resume") from error
    return made.weight


def rounded(evaluation: Evaluation, tops_alone: bool = False) -> dict[str, float]:
    """Top-k, and the loss, to four digits."""
    loss = {} if tops_alone else {"loss": evaluation.loss}
    return {name: round(value, METRIC_DIGITS) for name, value in (evaluation.top | loss).items()}
