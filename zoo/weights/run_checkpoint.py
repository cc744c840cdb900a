"""The checkpoint of a run of `zoo train`: read without running code, and as a weight while the run has not finished."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from zoo.catalog.schema import StoredWeight
from zoo.catalog.sources import RunCheckpoint
from zoo.errors import WeightError
from zoo.names import Spec
from zoo.registry.registry import Registry
from zoo.weights.load import check_before_allocation
from zoo.weights.pack import pack

CHECKPOINT = "checkpoint.pt"
FORMAT = 1


def load_checkpoint(path: Path, advice: str) -> dict[str, Any]:
    """The content of a checkpoint, whose parts are not checked yet; no code in the file is ever run.

    Args:
        path: the file.
        advice: what an error says to do.

    Raises:
        WeightError: unreadable, or not a checkpoint of this version of `zoo train`.
    """
    try:
        _check_sums(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises errors of any type on what was written by something else
        raise WeightError(f"{path} is damaged, or is not a checkpoint ({type(error).__name__}); {advice}") from error
    if not isinstance(state, dict) or type(state.get("format")) is not int or state["format"] != FORMAT:
        raise WeightError(f"{path} is not a checkpoint of this version of `zoo train`; {advice}")
    return state


def _check_sums(path: Path) -> None:
    """Raise `BadZipFile` where a part is not what was written: torch does not look at the sums."""
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise zipfile.BadZipFile("it is compressed")  # torch never does that, and it may grow without end
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{damaged} is damaged")


@final
@dataclass(frozen=True)
class UnfinishedRun:
    """What a run's checkpoint holds of its network.

    Attributes:
        folder: of the run.
        state: the tensors of the network, not compared with it yet.
        epoch: whole epochs done.
        step: steps done in the epoch after those.
        epochs: of the whole run.
    """

    folder: Path
    state: Mapping[str, Tensor]
    epoch: int
    step: int
    epochs: int

    @property
    def place(self) -> str:
        """`after epoch 3 of 12`."""
        if not self.step:
            return f"after epoch {self.epoch} of {self.epochs}"
        return f"after step {self.step} in epoch {self.epoch + 1} of {self.epochs}"

    def weigh(
        self, draft: StoredWeight, spec: Spec, registry: Registry | None = None
    ) -> tuple[StoredWeight, RunCheckpoint]:
        """The record of the weights as they are now, and the weights themselves.

        Its tag ends in the epoch, since the bytes behind a tag never change and the run's own tag is that of its end.

        Args:
            draft: the record that the run began with.
            spec: of that record.
            registry: components; the installed ones by default.

        Raises:
            WeightError: the tensors are not those of the network.
        """
        check_before_allocation(spec, draft, self.state, registry)  # a tensor may claim more than its file holds
        data = pack(self.state, spec)
        at = f"epoch{self.epoch}" + (f"-step{self.step}" if self.step else "")
        weight = draft.model_copy(
            update={
                "tag": f"{draft.tag}-{at}",
                "sha256": sha256(data).hexdigest(),
                "size": len(data),
                "epochs": self.epoch or None,
                "metrics": {},
                "recipe": f"{draft.recipe}; not finished: the checkpoint {self.place}",
            }
        )
        return weight, RunCheckpoint(self.folder, self.place, data)


def read_unfinished(folder: Path) -> UnfinishedRun:
    """The network in a run's checkpoint, in whatever shape it is there.

    Raises:
        WeightError: the checkpoint is damaged, or is not one of `zoo train`.
    """
    path = folder / CHECKPOINT
    advice = "put back the file as it was written, or train in another folder"
    state = load_checkpoint(path, advice)
    model, facts = state.get("model"), state.get("identity")
    epochs = facts.get("epochs") if isinstance(facts, dict) else None
    epoch, step = state.get("epoch"), state.get("step")
    if not (isinstance(model, dict) and all(isinstance(key, str) and _is_plain(value) for key, value in model.items())):
        raise WeightError(f"{path} is not as `zoo train` wrote it: its model is not made of tensors; {advice}")
    if type(epochs) is not int or type(epoch) is not int or type(step) is not int or not 0 <= epoch <= epochs:
        raise WeightError(f"{path} is not as `zoo train` wrote it: it does not say after which epoch; {advice}")
    if step < 0:
        raise WeightError(f"{path} is not as `zoo train` wrote it: its step is {step}; valid: 0 or more; {advice}")
    return UnfinishedRun(folder, model, epoch, step, epochs)


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided and not value.is_meta and not value.is_quantized
