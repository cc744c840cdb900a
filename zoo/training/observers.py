"""Progress of a run: its figures, and the observers that show and write them."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean as mean
from typing import TYPE_CHECKING, Any, final

from zoo.errors import printable
from zoo.files import replace_bytes
from zoo.progress import progress

if TYPE_CHECKING:
    from accelerate import Accelerator

    from zoo.training.loop import Training


# Figures --------------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class StepFigures:
    """One optimiser step, over all processes.

    Attributes:
        loss: mean over the micro-batches.
        grad_norm: of all parameters, before clipping.
        hits, images: those classified correctly, and all.
        lr: learning rate of the step.
        spike_rate: spikes per neuron and timestep, in the last step of an epoch; else None, as without neurons.
    """

    loss: float
    grad_norm: float
    hits: int
    images: int
    lr: float
    spike_rate: float | None


@final
@dataclass
class EpochRow:
    """One epoch, a row of metrics.csv.

    Attributes:
        epoch: from 1.
        step: optimiser steps since the beginning of the run.
        train_loss: mean over steps of the loss that is minimised, with all its terms.
        train_top1: percent, on the augmented images, while the weights changed.
        lr: mean learning rate of the steps.
        grad_norm: mean before clipping.
        spike_rate: spikes per neuron and timestep in the last step; None without neurons.
        images_per_second, seconds: of training alone.
        val: validation figures, if measured: top1, loss.
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
        content = asdict(self)
        return content | {f"val_{name}": value for name, value in content.pop("val").items()}


def summarise(epoch: int, steps: Sequence[StepFigures], seconds: float) -> EpochRow:
    """Make the row of an epoch that took `steps`."""
    images = sum(step.images for step in steps)
    return EpochRow(
        epoch=epoch,
        step=epoch * len(steps),
        train_loss=mean(step.loss for step in steps),
        train_top1=100 * sum(step.hits for step in steps) / images,
        lr=mean(step.lr for step in steps),
        grad_norm=mean(step.grad_norm for step in steps),
        spike_rate=steps[-1].spike_rate,
        images_per_second=images / seconds,
        seconds=seconds,
    )


# Observers ------------------------------------------------------------------------------------------------------------


class Observer:
    """Receives the progress of a run, in its first process; override what you need.

    Example:
        >>> from zoo.training import Observer
        >>> class Losses(Observer):
        ...     def __init__(self):
        ...         self.losses = []
        ...     def stepped(self, epoch, step, figures):
        ...         self.losses.append(figures.loss)
    """

    def started(self, run: Training, notes: Sequence[str]) -> None:
        """Before the first step; `run` has the recipe, the plan of steps and the position, `notes` are for the user."""

    def stepped(self, epoch: int, step: int, figures: StepFigures) -> None:
        """After a step; epoch and step count from 1."""

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        """After an epoch was saved, and measured if that was due; `row` is the last of `rows`."""

    def stopped(self, message: str) -> None:
        """Before the run ends early, since it was asked to; the message says where, and how to continue."""

    def closed(self) -> None:
        """At the end, also after an error."""


@final
class Display(Observer):
    """Progress on stderr: a line after every epoch, and in a terminal a bar."""

    def __init__(self) -> None:
        self._bar = ExitStack()

    def started(self, run: Training, notes: Sequence[str]) -> None:
        self._epochs, steps = run.recipe.epochs, run.plan.steps
        self._say(f"{run.network.spec}: {self._epochs} × {steps} steps of {run.plan.batch_size} images")
        for note in notes:
            self._say(f"note: {note}")
        if run.steps:
            self._say(f"resuming after epoch {run.epoch}, step {len(run.steps)} of epoch {run.epoch + 1}")
        elif run.epoch:
            self._say(f"resuming after epoch {run.epoch}")
        self._advance = self._bar.enter_context(progress("training", self._epochs * steps))
        self._advance(run.epoch * steps + len(run.steps))

    def stepped(self, epoch: int, step: int, figures: StepFigures) -> None:
        self._advance(1)

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        spikes = "" if row.spike_rate is None else f" spikes {row.spike_rate:.3f}"
        self._say(  # 80 columns; metrics.csv has every digit
            f"epoch {row.epoch}/{self._epochs}  loss {row.train_loss:.3f} top-1 {row.train_top1:.1f} % "
            f"norm {row.grad_norm:.2g}{spikes} lr {row.lr:.2g} {row.images_per_second:.0f}/s"
        )
        if row.val:
            figures = ", ".join(f"{name.replace('top', 'top-')} {value:.4g}" for name, value in row.val.items())
            self._say(f"epoch {row.epoch}  validation: {figures}")

    def stopped(self, message: str) -> None:
        self._say(message)

    def closed(self) -> None:
        self._bar.close()

    def _say(self, line: str) -> None:
        print(printable(line), file=sys.stderr, flush=True)


@final
class MetricsFile(Observer):
    """metrics.csv, one row an epoch, rewritten each time, so that a resumed run has each epoch once."""

    def __init__(self, out: Path) -> None:
        self._path = out / "metrics.csv"

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        contents = [row.to_json() for row in rows]
        text = io.StringIO()
        columns = dict.fromkeys(key for content in contents for key in content)
        writer = csv.DictWriter(text, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(contents)
        replace_bytes(self._path, text.getvalue().encode())


@final
class Trackers(Observer):
    """Experiment trackers by accelerate: loss, norm and rate every 50 steps, a row of metrics.csv every epoch."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    def started(self, run: Training, notes: Sequence[str]) -> None:
        self._steps = run.plan.steps
        # Events of an earlier process after its last checkpoint are dropped, since they are computed again.
        options = {"tensorboard": {"purge_step": run.epoch * run.plan.steps + len(run.steps) + 1}}
        self._accelerator.init_trackers("tensorboard", init_kwargs=options)

    def stepped(self, epoch: int, step: int, figures: StepFigures) -> None:
        place = (epoch - 1) * self._steps + step
        if place % 50 == 0:
            self._log("step", {"loss": figures.loss, "grad_norm": figures.grad_norm, "lr": figures.lr}, place)

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        self._log("epoch", row.to_json(), row.step)

    def closed(self) -> None:
        for tracker in self._accelerator.trackers:
            tracker.finish()

    def _log(self, group: str, values: Mapping[str, float | None], step: int) -> None:
        known = {f"{group}/{name}": value for name, value in values.items() if value is not None}
        self._accelerator.log(known, step=step)
