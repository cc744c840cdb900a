"""The checkpoint of a run: all that it needs to go on, and what it was made with, so that no other run takes it."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo.errors import InputError, WeightError
from zoo.training.files import replace_file

CHECKPOINT = "checkpoint.pt"
_FORMAT = 1


@dataclass(frozen=True)
class Identity:
    """What a run is: recipe, model, data, micro-batches; by the name a message calls each.

    Attributes:
        facts: plain values.
    """

    facts: Mapping[str, Any]

    def check(self, other: Mapping[str, Any], where: Path) -> None:
        """Raise `InputError` naming what differs."""
        changed = [
            f"{key} ({_short(other.get(key))}, now {_short(self.facts.get(key))})"
            for key in {**self.facts, **other}
            if self.facts.get(key) != other.get(key)
        ]
        if changed:
            raise InputError(
                f"{where} was made with another {', '.join(changed)}; go on with what it was made with, "
                "or choose another folder (--out)"
            )


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def write_checkpoint(path: Path, identity: Identity, state: Mapping[str, Any]) -> None:
    """Replace the checkpoint, whole or not at all."""
    content = {"format": _FORMAT, "identity": dict(identity.facts), **state}
    replace_file(path, lambda file: torch.save(content, file))


_UNREADABLE = (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError, zipfile.BadZipFile)


def _check_sums(path: Path) -> None:
    """Raise `BadZipFile` where a part is not what was written: torch does not look at the sums."""
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{damaged} is damaged")


def read_checkpoint(path: Path, identity: Identity) -> dict[str, Any]:
    """The state of a checkpoint of this very run; no code in the file is ever run.

    Raises:
        WeightError: unreadable, or no checkpoint of this zoo.
        InputError: another run's; the message names what differs.
    """
    try:
        _check_sums(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise WeightError(
            f"{path} is damaged or no checkpoint ({type(error).__name__}); start in another folder"
        ) from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise WeightError(f"{path} is no checkpoint of this version of `zoo train`; start in another folder")
    identity.check(state["identity"], path)
    return state
