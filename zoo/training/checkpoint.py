"""The checkpoint of a run: all that it needs to go on, and what it was made with, so that no other run takes it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from zoo.contracts.classifier import ImageClassifier
from zoo.data import ImageSplit
from zoo.data.fingerprints import compare
from zoo.errors import InputError, WeightError
from zoo.training.files import replace_file
from zoo.training.recipes import Recipe

CHECKPOINT = "checkpoint.pt"
_FORMAT = 1

FINGERPRINT = "data fingerprint"
MEASURED = "validation data fingerprint"
DATA = {FINGERPRINT: "training", MEASURED: "validation"}
"""Facts that are fingerprints, and the images that each is of."""


@dataclass(frozen=True)
class Identity:
    """What a run is: recipe, model, data, micro-batches; by the name a message calls each.

    Attributes:
        facts: plain values.
    """

    facts: Mapping[str, Any]

    def check(self, other: Mapping[str, Any], where: Path) -> list[str]:
        """How the data were compared, in words; raises `InputError` naming what differs."""
        facts = {key: value for key, value in self.facts.items() if key not in DATA}
        before = {key: value for key, value in other.items() if key not in DATA}
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
                f"{where} was made with another {', '.join(changed)}; go on with what it was made with, "
                "or choose another folder (--out)"
            )
        return notes


def identify(
    model: ImageClassifier,
    data: ImageSplit,
    recipe: Recipe,
    micro_batches: int,
    origin: str,
    measured_on: ImageSplit | None = None,
) -> Identity:
    """What a run is; of data that are not in memory, the images may all be read for it."""
    facts = {
        **recipe.model_dump(mode="json"),
        "model": str(model.spec.untagged()),
        "initial weights": origin,
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
    content = {"format": _FORMAT, "identity": dict(identity.facts), **state}
    replace_file(path, lambda file: torch.save(content, file))


@dataclass(frozen=True)
class Checkpoint:
    """One of this very run, as it was written.

    Attributes:
        state: of the network, the optimiser and all else; its parts are not checked yet.
        notes: how the data of then and now were compared.
    """

    state: dict[str, Any]
    notes: list[str]


def _check_sums(path: Path) -> None:
    """Raise `BadZipFile` where a part is not what was written: torch does not look at the sums."""
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise zipfile.BadZipFile("it is compressed")  # torch never does that, and it may grow without end
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{damaged} is damaged")


def read_checkpoint(path: Path, identity: Identity) -> Checkpoint:
    """A checkpoint of this very run; no code in the file is ever run.

    Raises:
        WeightError: unreadable, or no checkpoint of this zoo.
        InputError: another run's; the message names what differs.
    """
    try:
        _check_sums(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader raises errors of any type on what was written by something else
        raise WeightError(
            f"{path} is damaged or no checkpoint ({type(error).__name__}); start in another folder"
        ) from error
    if not isinstance(state, dict) or type(state.get("format")) is not int or state["format"] != _FORMAT:
        raise WeightError(f"{path} is not a checkpoint of this version of `zoo train`; start in another folder")
    facts = state.get("identity")
    if not isinstance(facts, dict) or not all(isinstance(key, str) for key in facts) or not _is_plain(facts):
        raise WeightError(
            f"{path} does not say what it was made with, or not as `zoo train` does; put back the file as it was "
            "written, or start in another folder (--out)"
        )
    return Checkpoint(state, identity.check(facts, path))


def _is_plain(value: Any) -> bool:
    """Whether it is made of what JSON has, which can be compared."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
