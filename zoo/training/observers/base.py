"""What a run tells while it goes on, and to whom: the observers."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, final


@final
@dataclass(frozen=True)
class RunFacts:
    """What is known before the first step.

    Attributes:
        name: of the network.
        epochs: of the whole run.
        steps: optimiser steps of an epoch.
        batch_size: images of one.
        first_epoch: epochs done before, where a run goes on.
        first_step: steps of the epoch done before.
        images: the size of the images, and why it is this.
        notes: what a reader must know.
    """

    name: str
    epochs: int
    steps: int
    batch_size: int
    first_epoch: int
    first_step: int
    images: str = ""
    notes: Sequence[str] = ()


@final
@dataclass(frozen=True)
class StepFigures:
    """One optimiser step, over all processes.

    Attributes:
        loss: mean over the micro-batches.
        grad_norm: of all parameters, before clipping; NaN where a GPU's loss scaling skipped the step.
        hits: images classified correctly.
        images: images seen.
        lr: the learning rate of the step.
    """

    loss: float
    grad_norm: float
    hits: int
    images: int
    lr: float


@final
@dataclass
class Totals:
    """Sums over the steps of an epoch so far."""

    loss: float = 0.0
    grad_norm: float = 0.0
    normed: int = 0
    hits: int = 0
    images: int = 0
    steps: int = 0
    seconds: float = 0.0

    def add(self, step: StepFigures, seconds: float) -> None:
        """Take in one step, which took so long."""
        self.loss += step.loss
        if step.grad_norm == step.grad_norm:
            self.grad_norm += step.grad_norm
            self.normed += 1
        self.hits += step.hits
        self.images += step.images
        self.steps += 1
        self.seconds += seconds

    def figures(self) -> dict[str, float]:
        """Means over the steps, or over the images."""
        return {
            "train_loss": self.loss / self.steps,
            "train_top1": 100 * self.hits / self.images,
            "grad_norm": self.grad_norm / self.normed if self.normed else float("nan"),
            "images_per_second": self.images / self.seconds if self.seconds else 0.0,
            "seconds": self.seconds,
        }


@final
@dataclass
class EpochRow:
    """One epoch, as metrics.csv has it.

    Attributes:
        epoch: from 1.
        step: optimiser steps since the beginning of the run.
        train_loss: mean over steps, with label smoothing where the recipe has it.
        train_top1: percent, on the augmented images, while the weights changed.
        lr: the learning rate of the last step.
        grad_norm: mean before clipping.
        spike_rate: spikes per neuron and timestep in the last step; None without neurons.
        images_per_second: training alone.
        seconds: training alone.
        val: validation figures where they were measured: top1, loss.
    """

    epoch: int
    step: int
    train_loss: float
    train_top1: float
    lr: float
    grad_norm: float
    spike_rate: float | None
    images_per_second: float
    seconds: float
    val: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Flat; validation figures begin with `val_`."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "val"}
        return own | {f"val_{name}": value for name, value in self.val.items()}


class Observer(ABC):  # noqa: B024
    """Told of a run's progress, in its first process alone; each kind overrides what it cares for."""

    def started(self, facts: RunFacts, rows: Sequence[EpochRow]) -> None:  # noqa: B027
        """Before the first step; `rows` are the epochs done before."""

    def stepped(self, epoch: int, step: int, figures: StepFigures, totals: Totals) -> None:  # noqa: B027
        """After a step; epoch and step count from 1, `totals` is the epoch's so far."""

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:  # noqa: B027
        """After an epoch was saved; `rows` has all of them, this one last."""

    def measuring(self, images: int) -> None:  # noqa: B027
        """Before that many images of the validation split are classified."""

    def measured(self, images: int) -> None:  # noqa: B027
        """After some of them."""

    def validated(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:  # noqa: B027
        """After all of them; `row`, the last of `rows`, has the figures."""

    def closed(self) -> None:  # noqa: B027
        """At the end, also after an error."""
