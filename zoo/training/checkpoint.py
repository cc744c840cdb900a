"""The checkpoint of a run: everything it needs to continue, and the settings that it was made with."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, final

import torch
from pydantic import BaseModel, ConfigDict, JsonValue, NonNegativeInt
from torch import Tensor

from zoo.contracts.classifier import ImageClassifier
from zoo.data import ImageSplit
from zoo.errors import InputError, WeightError
from zoo.training.observers import EpochRow, Totals, write_file
from zoo.training.recipe import Recipe

CHECKPOINT = "checkpoint.pt"

Identity = Mapping[str, JsonValue]
"""The recipe, the model, the data and the micro-batches of a run, by the names that messages use."""


@final
class Checkpoint(BaseModel):
    """The state of a run between two steps.

    Everything random in a step follows from (seed, epoch, step, micro-batch) and the schedule from the recipe, so the
    position is all that is kept of them.

    Attributes:
        identity: of the run.
        epoch, step: whole epochs done, and steps done in the next one.
        model, optimizer, scaler: state dicts; the scaler is fp16's.
        averaged: the moving average of the weights, if the recipe has one.
        totals: sums of the epoch so far.
        rows: one for each epoch done.
        finished: numbers of epochs after which the run had finished before it was extended.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    format: Literal[2] = 2
    identity: dict[str, JsonValue]
    epoch: NonNegativeInt
    step: NonNegativeInt
    model: dict[str, Tensor]
    averaged: dict[str, Tensor] | None = None
    optimizer: dict[str, Any]
    scaler: dict[str, Any] | None
    totals: Totals
    rows: list[EpochRow]
    finished: list[int]

    @property
    def ended(self) -> bool:
        """Is this the end of the run it belongs to?"""
        return self.step == 0 and self.epoch == self.identity.get("epochs")


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file atomically; raises `TrainingError` if it cannot be written."""
    content = dict(checkpoint) | {"totals": asdict(checkpoint.totals), "rows": [asdict(row) for row in checkpoint.rows]}
    write_file(path, lambda file: torch.save(content, file))


def read_checkpoint(path: Path, identity: Identity, further: bool = False) -> Checkpoint:
    """Read the checkpoint of this run, without running any code in it.

    Args:
        path: the file.
        identity: of this run.
        further: accept a finished run of fewer epochs, to extend it.

    Raises:
        WeightError: the file is damaged, or not a checkpoint of this version.
        InputError: it belongs to a run with other settings, which the message names.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch does not compare checksums
                raise zipfile.BadZipFile(f"{damaged} is damaged")
        checkpoint = Checkpoint.model_validate(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch's reader raises errors of any type on bytes that it did not write
        raise unfit(path, error) from error
    _check_identity(checkpoint, identity, path, further)
    return checkpoint


def unfit(path: Path, error: Exception) -> WeightError:
    """Return the error for a checkpoint that cannot be used."""
    reason = str(error).strip().partition("\n")[0]
    return WeightError(
        f"{path} is damaged, or not a checkpoint of this version of `zoo train` ({type(error).__name__}: {reason}); "
        "restore the file, or start in another folder (--out)"
    )


def identify(
    model: ImageClassifier,
    data: ImageSplit,
    validation: ImageSplit | None,
    recipe: Recipe,
    micro_batches: int,
    initial_sha256: str,
) -> Identity:
    """Describe a run by what its result depends on; this may read all images."""
    facts: dict[str, JsonValue] = {
        **recipe.model_dump(mode="json"),
        "model": str(model.spec.untagged()),
        "options": json.dumps(model.spec.options, sort_keys=True),
        "initial weights": initial_sha256,
        "classes": list(data.classes),
        "images": len(data),
        "image size": list(data.size),
        "data fingerprint": data.fingerprint(),
        "number of micro-batches": micro_batches,
    }
    if validation is not None:
        facts["validation data fingerprint"] = validation.fingerprint()
    return facts


def _check_identity(checkpoint: Checkpoint, identity: Identity, path: Path, further: bool) -> None:
    before, now = checkpoint.identity, identity
    old, new = before.get("epochs"), now["epochs"]
    longer = isinstance(old, int) and isinstance(new, int) and old < new
    if further and longer and checkpoint.ended:
        before = before | {"epochs": new}
    changed = [
        f"{key} ({_short(before.get(key))}, now {_short(now.get(key))})"
        for key in {**now, **before}
        if before.get(key) != now.get(key)
    ]
    if not changed:
        return
    advice = ""
    if longer and checkpoint.ended:
        advice = f". The run has finished; --epochs {new} extends it"
    elif longer:
        advice = f". Only a finished run can be extended: finish it with --epochs {old} first"
    raise InputError(
        f"{path} was made with other settings: {', '.join(changed)}; use those again, or choose another folder "
        f"(--out){advice}"
    )


def _short(value: JsonValue) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
