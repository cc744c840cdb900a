"""Observers of a run, which show and write its progress."""

from __future__ import annotations

import csv
import io
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, final

from zoo.contracts.classifier import ImageClassifier
from zoo.errors import printable
from zoo.files import replace_bytes
from zoo.progress import progress
from zoo.training.batches import Plan
from zoo.training.figures import EpochRow, StepFigures
from zoo.training.recipe import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator

SILENCE = 60.0
"""Seconds without a line after which a log that is no terminal gets one within an epoch."""


class Position(Protocol):
    """What observers may read of a run at its start: its settings, and how far it is.

    Attributes:
        network: that is measured and saved.
        epoch, steps: whole epochs done, and the steps after them.
    """

    recipe: Recipe
    plan: Plan
    epoch: int
    steps: list[StepFigures]

    @property
    def network(self) -> ImageClassifier: ...


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

    def started(self, run: Position, notes: Sequence[str]) -> None:
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
    """Progress on stderr: a line after every epoch; in a terminal a bar, elsewhere a line a minute."""

    def __init__(self) -> None:
        self._bar = ExitStack()

    def started(self, run: Position, notes: Sequence[str]) -> None:
        self._epochs, steps = run.recipe.epochs, run.plan.steps
        self._say(f"{run.network.spec}: {self._epochs} × {steps} steps of {run.plan.batch_size} images")
        for note in notes:
            self._say(f"note: {note}")
        if run.steps:
            self._say(f"resuming after epoch {run.epoch}, step {len(run.steps)} of epoch {run.epoch + 1}")
        elif run.epoch:
            self._say(f"resuming after epoch {run.epoch}")
        self._total, self._done = self._epochs * steps, run.epoch * steps + len(run.steps)
        self._advance = self._bar.enter_context(progress("training, steps", self._total))
        self._advance(self._done)
        self._begun, self._before, self._said = time.monotonic(), self._done, time.monotonic()

    def stepped(self, epoch: int, step: int, figures: StepFigures) -> None:
        self._advance(1)
        self._done += 1
        if not sys.stderr.isatty() and time.monotonic() - self._said >= SILENCE:
            self._say(f"epoch {epoch}/{self._epochs}  step {step}, loss {figures.loss:.3f}{self._left()}")

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        spikes = "" if row.spike_rate is None else f" spikes {100 * row.spike_rate:.1f} %"
        self._say(  # 80 columns; metrics.csv has every digit
            f"epoch {row.epoch}/{self._epochs}  loss {row.train_loss:.3f} top-1 {row.train_top1:.1f} %{spikes} "
            f"{row.images_per_second:.0f} images/s{self._left()}"
        )
        if row.val:
            figures = ", ".join(f"{name.replace('top', 'top-')} {value:.4g}" for name, value in row.val.items())
            self._say(f"epoch {row.epoch}  validation: {figures}")

    def _left(self) -> str:
        """Estimate the time to the end by the steps since the start."""
        if self._done == self._before or self._done >= self._total:
            return ""
        seconds = (time.monotonic() - self._begun) / (self._done - self._before) * (self._total - self._done)
        return f", {timedelta(seconds=round(seconds))} left"

    def stopped(self, message: str) -> None:
        self._say(message)

    def closed(self) -> None:
        self._bar.close()

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
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

    def started(self, run: Position, notes: Sequence[str]) -> None:
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
