"""The weights in the checkpoint of a run of `zoo train` that has not finished."""

from __future__ import annotations

import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from zoo.catalog.schema import StoredWeight
from zoo.catalog.sources import RunCheckpoint
from zoo.errors import WeightError
from zoo.names import Spec
from zoo.registry.registry import Registry
from zoo.weights.load import check_before_allocation
from zoo.weights.pack import pack

CHECKPOINT = "checkpoint.pt"


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, without running any code in it.

    Raises:
        WeightError: the file is damaged, or not a checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():  # torch does not compare checksums
                raise zipfile.BadZipFile(f"{damaged} is damaged")
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch's reader raises errors of any type on bytes that it did not write
        raise unfit(path, error) from error


def unfit(path: Path, error: Exception) -> WeightError:
    """The error for a checkpoint that cannot be used."""
    reason = str(error).strip().partition("\n")[0]
    return WeightError(
        f"{path} is damaged, or not a checkpoint of this version of `zoo train` ({type(error).__name__}: {reason}); "
        "restore the file, or start in another folder (--out)"
    )


def read_unfinished(
    folder: Path, draft: StoredWeight, spec: Spec, registry: Registry | None = None
) -> tuple[StoredWeight, RunCheckpoint]:
    """The record and the weights of the last checkpoint in a run's folder.

    The tag ends in the epoch, since the bytes behind a tag never change and the run's own tag names its final weights.

    Args:
        folder: of the run.
        draft: the record that the run began with.
        spec: of that record.
        registry: components; the installed ones by default.

    Raises:
        WeightError: the checkpoint is damaged, or holds another network.
    """
    path = folder / CHECKPOINT
    state = load_checkpoint(path)
    try:
        tensors = dict(state["averaged"] or state["model"])
        epoch, step, epochs = int(state["epoch"]), int(state["step"]), int(state["identity"]["epochs"])
        check_before_allocation(spec, draft, tensors, registry)
        data = pack(tensors, spec)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise unfit(path, error) from error
    place = f"after step {step} in epoch {epoch + 1} of {epochs}" if step else f"after epoch {epoch} of {epochs}"
    changes = {
        "tag": f"{draft.tag}-epoch{epoch}" + (f"-step{step}" if step else ""),
        "sha256": sha256(data).hexdigest(),
        "size": len(data),
        "epochs": epoch or None,
        "metrics": {},
        "recipe": f"{draft.recipe}; not finished: the checkpoint {place}",
    }
    return draft.model_copy(update=changes), RunCheckpoint(folder, place, data)
