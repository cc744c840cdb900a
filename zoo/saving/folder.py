"""The one writer of folders that load: model.safetensors, its config.json, and whatever else belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from zoo.catalog.schema import StoredWeight
from zoo.composition import build_model, parse_name
from zoo.contracts.classifier import ImageClassifier
from zoo.errors import SaveError
from zoo.files import replace_files, write_folder
from zoo.registry.registry import Registry
from zoo.saving.record import Statement, describe_rebuilt, rebuild, state_metrics
from zoo.weights import describe
from zoo.weights.config_json import CONFIG, MODEL, write_config


def check_new_folder(path: Path) -> None:
    """Raise `SaveError` where something is that would be written over."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        what = "is not empty" if path.is_dir() else "is a file"
        raise SaveError(f"{path} {what}; name a folder that is empty or does not exist yet")


@final
@dataclass(frozen=True)
class ModelFolder:
    """What is written, in memory.

    Attributes:
        weight: its record.
        files: path inside the folder → bytes.
    """

    weight: StoredWeight
    files: Mapping[str, bytes]

    def write(self, path: Path) -> None:
        """Write a new folder; it is complete, or not there.

        Raises:
            SaveError: it holds files already, or cannot be written.
        """
        check_new_folder(path)
        try:
            write_folder(path, self.files)
        except OSError as error:
            raise SaveError(f"{path} cannot be written: {error}") from error

    def write_into(self, path: Path) -> None:
        """Write into a folder that may hold other files, which stay; these files are replaced.

        All of them are written beside first, then renamed, the config last. Whenever that is interrupted, the folder
        loads as it did before, or as it does afterwards, or is refused, since its config names other weights.

        Raises:
            SaveError: it cannot be written; then it is as it was.
        """
        try:
            replace_files(path, dict(sorted(self.files.items(), key=lambda item: item[0] == CONFIG)))
        except OSError as error:
            raise SaveError(f"{path} cannot be written: {error}") from error

    def with_metrics(self, metrics: Mapping[str, float], registry: Registry | None = None) -> ModelFolder:
        """The same folder, its record with these figures in percent.

        Raises:
            SaveError: figures that no record may have.
        """
        weight = state_metrics(self.weight, metrics)
        with torch.device("meta"):
            spec = weight.spec_of(parse_name(weight.variant, registry))
            model = build_model(spec, weight.num_classes, weight.in_chans, registry=registry)
        return ModelFolder(weight, {**self.files, CONFIG: make_config(model, weight)})


def make_folder(
    name: str, data: bytes, origin: str, statement: Statement, registry: Registry | None = None
) -> ModelFolder:
    """Weights and their record as a folder that loads, without a card.

    Args:
        name: `variant.tag`.
        data: of model.safetensors.
        origin: what errors call them.
        statement: what cannot be counted.
        registry: components to use; the installed ones by default.

    Raises:
        SaveError, WeightError, ModelNameError: as `describe_checkpoint` does.
    """
    return make_rebuilt(rebuild(name, data, origin, registry), data, origin, statement, registry)


def make_rebuilt(
    model: ImageClassifier, data: bytes, origin: str, statement: Statement, registry: Registry | None = None
) -> ModelFolder:
    """The same where the bytes were made a network of already."""
    weight = describe_rebuilt(model, data, origin, statement, registry)
    return ModelFolder(weight, {MODEL: data, CONFIG: make_config(model, weight)})


def make_config(model: ImageClassifier, weight: StoredWeight) -> bytes:
    """The config.json of a weight that is in this model."""
    return write_config(weight, describe(model, weight), model.num_features)


def check_finite(state: Mapping[str, Tensor], origin: str) -> None:
    """Raise `SaveError` where a tensor holds NaN or infinity."""
    bad = [key for key, value in state.items() if not bool(torch.isfinite(value).all())]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise SaveError(
            f"{origin} holds NaN or infinity in {', '.join(bad[:3])}{more}; a network with such weights answers "
            "nothing: go back to weights from before, and train with a lower learning rate"
        )
