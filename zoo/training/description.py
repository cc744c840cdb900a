"""What a run says of itself: run.json, the weight's record, and what a reader must know."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any, final

import torch

from zoo.catalog.schema import Preprocessing, StoredWeight
from zoo.data import DataSplits
from zoo.names import Options
from zoo.saving import NOT_STATED, Statement
from zoo.terminal import printable
from zoo.training.engine import Training
from zoo.weights import stated_preprocessing, zoo_section


@final
@dataclass(frozen=True)
class Asked:
    """What was asked for, for run.json and the weight's record.

    Attributes:
        begin: the NAME that was given.
        control: the weight of the network without spikes that it started from; None for none.
        model_options: of the model's components and its family.
        data: the DATA, a path as a whole one.
        name: `variant.tag` of the result.
        recipe: name or path.
        changes: settings that were replaced.
        validate_every: epochs between two looks at the validation split; 0 for one, at the end.
        eval_batch_size: validation images at once; None for what fits.
    """

    begin: str
    control: str | None
    model_options: Options
    data: str
    name: str
    recipe: str
    changes: dict[str, Any]
    validate_every: int
    eval_batch_size: int | None

    @property
    def recipe_text(self) -> str:
        """`modern (epochs=3)`."""
        changed = ", ".join(f"{key}={value}" for key, value in self.changes.items())
        return self.recipe + (f" ({changed})" if changed else "")


@final
@dataclass(frozen=True)
class Description:
    """A run, in words and as JSON."""

    training: Training
    splits: DataSplits
    asked: Asked

    def images(self) -> str:
        """The size of the images and why it is this; one line."""
        height, width = self.splits.train.size
        text = f"images of {width}×{height} pixels: {self.splits.size_reason}"
        trained = self.training.start.control_size
        if trained is not None and trained != height:
            text += f"; its control was trained at {trained} pixels a side"
        return printable(text)

    def notes(self) -> list[str]:
        """What a reader must know."""
        recipe, plan = self.training.recipe, self.training.plan
        notes = [
            *self.training.start.notes,
            *self.training.notes,
            *self.splits.train.damage.notes("training"),
            *self.splits.val.damage.notes("validation"),
        ]
        if plan.batch_size < recipe.batch_size:
            notes.append(
                f"{plan.images} images make one step of {plan.batch_size} an epoch, not of {recipe.batch_size}"
            )
        if recipe.epochs * plan.steps == 1 and recipe.schedule == "cosine":
            notes.append("the only step is the schedule's last, whose rate is 0: nothing is learned; take more epochs")
        if self.asked.validate_every:
            notes.append("the validation split was looked at more than once: a figure chosen among them is too high")
        return notes

    def statement(self) -> Statement:
        """What the weight's record says that cannot be counted."""
        training, asked = self.training, self.asked
        stated = stated_preprocessing(training.network)
        went_on = [f"went on after it had finished {ends} epochs, its schedule laid anew" for ends in training.finished]
        return Statement(
            license=NOT_STATED,
            labels=self.splits.train.classes,
            preprocessing=Preprocessing(size=self.splits.train.size[0], mean=stated.mean, std=stated.std),
            dataset=asked.name.rpartition(".")[2],
            dataset_note=printable(f"trained on {self.splits.train.origin}; measured on {self.splits.val.origin}"),
            recipe=printable("; ".join((asked.recipe_text, *went_on, *training.start.notes))),
            epochs=training.recipe.epochs,
            seed=training.recipe.seed,
            control=training.start.control,
            started_from=training.start.started_from,
        )

    def to_json(self, draft: StoredWeight) -> dict[str, Any]:
        """run.json, with the record that the run began with, by which its checkpoint loads."""
        training, accelerator = self.training, self.training.accelerator
        return {
            "asked": vars(self.asked),
            "settings": training.recipe.model_dump(mode="json"),
            "identity": dict(training.identity),
            "data": {
                "train": self.splits.train.origin,
                "val": self.splits.val.origin,
                "image_size": self.splits.train.size[0],
                "size_reason": self.splits.size_reason,
            },
            "batch_size": training.plan.batch_size,
            "steps_per_epoch": training.plan.steps,
            "processes": accelerator.num_processes,
            "accumulated_batches": accelerator.gradient_accumulation_steps,
            "device": str(accelerator.device),
            "threads": torch.get_num_threads(),
            "machine": f"{platform.system()} {platform.machine()}",
            "versions": {name: metadata.version(name) for name in ("has8-zoo", "torch", "timm", "accelerate")},
            "started_from": _started_from(training),
            "zoo": zoo_section(draft),
        }


def _started_from(training: Training) -> Mapping[str, str]:
    """The weight that the run began with: its name, its bytes, and what loads it on this machine."""
    start = training.start
    if not start.initial_sha256:
        return {}
    return {"name": start.started_from, "sha256": start.initial_sha256, "load": start.loads}
