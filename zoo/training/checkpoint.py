"""The checkpoint of a run: everything it needs to continue, and the settings that it was made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any, final

import torch
from pydantic import BaseModel, ConfigDict, JsonValue, NonNegativeInt
from torch import Tensor

from zoo.contracts.classifier import ImageClassifier
from zoo.data import ImageSplit
from zoo.errors import InputError, WeightError
from zoo.files import replace_bytes
from zoo.training.observers import EpochRow
from zoo.training.recipe import Recipe

CHECKPOINT = "checkpoint.pt"

Identity = Mapping[str, JsonValue]
"""The recipe, the model, the data and the micro-batches of a run, by the names that messages use."""


@final
class Checkpoint(BaseModel):
    """The state of a run between two epochs.

    Everything random in a step follows from (seed, epoch, step, micro-batch) and the schedule from the recipe, so the
    number of epochs is all that is kept of them.

    Attributes:
        identity: of the run.
        epoch: whole epochs done.
        model, optimizer: state dicts.
        averaged: the moving average of the weights, if the recipe has one.
        rows: one for each epoch done.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    identity: dict[str, JsonValue]
    epoch: NonNegativeInt
    model: dict[str, Tensor]
    averaged: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    rows: list[EpochRow]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the file atomically."""
    buffer = BytesIO()  # torch.save hides the reason if a file cannot be written
    torch.save(dict(checkpoint) | {"rows": [asdict(row) for row in checkpoint.rows]}, buffer)
    replace_bytes(path, buffer.getvalue())


def read_checkpoint(path: Path, identity: Identity) -> Checkpoint:
    """Read the checkpoint of this run, without running any code in it.

    Raises:
        WeightError: the file is damaged, or not a checkpoint of this version.
        InputError: it belongs to a run with other settings, which the message names.
    """
    try:
        checkpoint = Checkpoint.model_validate(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch's reader raises errors of any type on bytes that it did not write
        raise unfit(path, error) from error
    before = checkpoint.identity
    changed = [
        f"{key} ({before.get(key)!s:.40}, now {identity.get(key)!s:.40})"
        for key in {**identity, **before}
        if before.get(key) != identity.get(key)
    ]
    if changed:
        raise InputError(
            f"{path} was made with other settings: {', '.join(changed)}; use those again, or choose another folder "
            "(--out). A new run starts from the weight of a finished one if its folder is given as the model"
        )
    return checkpoint


def unfit(path: Path, error: Exception) -> WeightError:
    """Return the error for a checkpoint that cannot be used."""
    reason = str(error).strip().partition("\n")[0]
    return WeightError(
        f"{path} is damaged, or not a checkpoint of this version of `zoo train` ({type(error).__name__}: {reason}); "
        "restore the file, or start in another folder (--out)"
    )


def identify(model: ImageClassifier, data: ImageSplit, recipe: Recipe, micro_batches: int) -> Identity:
    """Describe a run by what its result depends on."""
    return {
        **recipe.model_dump(mode="json"),
        "model": str(model.spec.untagged()),
        "options": json.dumps(model.spec.options, sort_keys=True),
        "classes": list(data.classes),
        "images": len(data),
        "image size": list(data.size),
        "data fingerprint": data.fingerprint(),
        "number of micro-batches": micro_batches,
    }
