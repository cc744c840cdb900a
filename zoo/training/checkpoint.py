"""The checkpoint of a run: all that it needs to go on, and what it was made with, so that no other run takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from zoo.contracts.classifier import ImageClassifier
from zoo.data import ImageSplit
from zoo.data.fingerprints import compare
from zoo.errors import InputError, WeightError
from zoo.training.files import replace_file
from zoo.training.recipes import Recipe
from zoo.weights.run_checkpoint import FORMAT, load_checkpoint

FINGERPRINT = "data fingerprint"
MEASURED = "validation data fingerprint"
DATA = {FINGERPRINT: "training", MEASURED: "validation"}
"""Facts that are fingerprints, and the images that each is of."""


@final
@dataclass(frozen=True)
class Identity:
    """What a run is: recipe, model, data, micro-batches; by the name a message calls each.

    Attributes:
        facts: plain values.
    """

    facts: Mapping[str, Any]

    def check(self, other: Mapping[str, Any], where: Path, advice: str = "") -> list[str]:
        """How the data were compared, in words; raises `InputError` naming what differs, with more advice."""
        facts = {key: value for key, value in self.facts.items() if key not in DATA}
        before = _later_settings(other) | {key: value for key, value in other.items() if key not in DATA}
        changed = [
            f"{key} ({_short(before.get(key))}, now {_short(facts.get(key))})"
            for key in {**facts, **before}
            if facts.get(key) != before.get(key)
        ]
        notes = []
        for key, images in DATA.items():
            if key not in self.facts or (key not in other and key != FINGERPRINT):
                continue  # a checkpoint of an earlier version, which did not look at the images that are measured on
            comparison = compare(other.get(key), self.facts[key])
            if comparison.same:
                notes.append(f"the {images} images are those of the checkpoint, {comparison.words}")
            else:
                changed.append(f"{key} ({comparison.words})")
        if changed:
            raise InputError(
                f"{where} was made with other settings: {', '.join(changed)}; go on with what it was made with, "
                f"or choose another folder (--out){advice}"
            )
        return notes


def _later_settings(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a recipe that the version which wrote these facts did not have yet, as it trained: by default."""
    fields = {key: field for key, field in Recipe.model_fields.items() if not field.is_required()}
    return {key: field.default for key, field in fields.items() if key not in facts}


def identify(
    model: ImageClassifier,
    data: ImageSplit,
    recipe: Recipe,
    micro_batches: int,
    initial_sha256: str,
    measured_on: ImageSplit | None = None,
) -> Identity:
    """What a run is; of data that are not in memory, the images may all be read for it."""
    facts = {
        **recipe.model_dump(mode="json"),
        "model": str(model.spec.untagged()),
        "initial weights": initial_sha256,
        "classes": list(data.classes),
        "images": len(data),
        "image size": list(data.size),
        FINGERPRINT: data.fingerprint(),
        "number of micro-batches": micro_batches,
    }
    if model.spec.options:
        facts["options"] = json.dumps(model.spec.options, sort_keys=True)
    return Identity(facts if measured_on is None else facts | {MEASURED: measured_on.fingerprint()})


def _short(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def write_checkpoint(path: Path, identity: Identity, state: Mapping[str, Any]) -> None:
    """Replace the checkpoint, whole or not at all."""
    content = {"format": FORMAT, "identity": dict(identity.facts), **state}
    replace_file(path, lambda file: torch.save(content, file))


@final
@dataclass(frozen=True)
class Checkpoint:
    """One of this very run, as it was written.

    Attributes:
        state: of the network, the optimiser and all else; its parts are not checked yet.
        notes: how the data of then and now were compared.
        finished: the epochs of the run where it had finished and now has more of them; else None.
    """

    state: dict[str, Any]
    notes: list[str]
    finished: int | None = None


def read_checkpoint(path: Path, identity: Identity, further: bool = False) -> Checkpoint:
    """A checkpoint of this very run; no code in the file is ever run.

    Args:
        path: the file.
        identity: of this run.
        further: whether a run that finished may have fewer epochs than this one.

    Raises:
        WeightError: unreadable, or no checkpoint of this zoo.
        InputError: another run's; the message names what differs.
    """
    state = load_checkpoint(path, "start in another folder")
    facts = state.get("identity")
    if not isinstance(facts, dict) or not all(isinstance(key, str) for key in facts) or not _is_plain(facts):
        raise WeightError(
            f"{path} does not say what it was made with, or not as `zoo train` does; put back the file as it was "
            "written, or start in another folder (--out)"
        )
    finished = _finished_before(state, facts, identity)
    if finished is None or not further:
        return Checkpoint(_with_lr(state), identity.check(facts, path, _advice_on_epochs(facts, identity, finished)))
    notes = identity.check(facts | {"epochs": identity.facts["epochs"]}, path)
    return Checkpoint(_with_lr(state), notes, finished)


def _finished_before(state: Mapping[str, Any], facts: Mapping[str, Any], identity: Identity) -> int | None:
    """The epochs that a run had when it finished, where this one has more."""
    epochs = facts.get("epochs")
    ended = type(epochs) is int and state.get("epoch") == epochs and state.get("step") == 0
    return epochs if ended and epochs < identity.facts["epochs"] else None


def _advice_on_epochs(facts: Mapping[str, Any], identity: Identity, finished: int | None) -> str:
    """How a run comes to have more epochs, where it is these that differ."""
    old, new = facts.get("epochs"), identity.facts["epochs"]
    if type(old) is not int or old >= new:
        return ""
    if finished is not None:
        return f". The run has finished; with --epochs {new} it goes on to so many"
    return f". Only a finished run takes more epochs: finish it with --epochs {old}, then go on with --epochs {new}"


def _with_lr(state: dict[str, Any]) -> dict[str, Any]:
    """The state with rows as they are now: an earlier version wrote `learning_rate` for `lr`."""
    rows = state.get("rows")
    if not isinstance(rows, list):
        return state
    return state | {"rows": [_renamed(row, "learning_rate", "lr") for row in rows]}


def _renamed(row: Any, old: str, new: str) -> Any:
    if not isinstance(row, dict) or old not in row or new in row:
        return row
    return {new if key == old else key: value for key, value in row.items()}


def _is_plain(value: Any) -> bool:
    """Whether it is made of what JSON has, which can be compared."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
