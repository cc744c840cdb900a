"""A run's progress on stderr: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from zoo.terminal import printable
from zoo.training.observers.base import EpochRow, Observer, RunFacts, StepFigures, Totals

_SECONDS_BETWEEN_LINES = 30.0


_WIDE = 120
"""Columns from which there is room for a bar."""


def _figures(totals: Totals, spike_rate: float | None, left: float) -> str:
    """At most 64 characters, so that they fit beside the epoch in a terminal of 80 columns."""
    means = totals.figures()
    spikes = "" if spike_rate is None else f" spikes {spike_rate:.3f}"
    return (
        f"loss {means['train_loss']:.3f} top-1 {means['train_top1']:.1f} % norm {means['grad_norm']:.2g}{spikes} "
        f"{means['images_per_second']:.0f}/s {_clock(left)} left"
    )


def figure_in_words(name: str) -> str:
    """`top-1` for `top1`; a name without a number as it is."""
    return re.sub(r"^top(\d+)$", r"top-\1", name)


@final
class Display(Observer):
    """Epoch, loss, top-1, images a second, gradient norm, spike rate of the epoch before, time left.

    Attributes:
        told: the notes that were shown at the start.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = sys.stderr.isatty()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._spike_rate: float | None = None
        self._last_line = time.monotonic()
        self._started_at, self._done = time.monotonic(), 0
        self.told: Sequence[str] = ()

    def started(self, facts: RunFacts, rows: Sequence[EpochRow]) -> None:
        self._facts = facts
        self._first = facts.first_epoch * facts.steps + facts.first_step
        self._spike_rate = rows[-1].spike_rate if rows else None
        self._started_at = self._last_line = time.monotonic()
        epochs, steps = _counted(facts.epochs, "epoch"), _counted(facts.steps, "step")
        self._say(f"{facts.name}: {epochs} of {steps} of {facts.batch_size} images")
        if facts.images:
            self._say(facts.images)
        for note in facts.notes:
            self._say(f"note: {note}")
        self.told = facts.notes
        if self._first:
            self._say(f"going on after epoch {facts.first_epoch}, step {facts.first_step} of the next")
        if self._live:
            self._open("training", facts.epochs * facts.steps, self._first)

    def stepped(self, epoch: int, step: int, figures: StepFigures, totals: Totals) -> None:
        facts = self._facts
        done = (epoch - 1) * facts.steps + step
        now = time.monotonic()
        if self._bar is None and (now - self._last_line < _SECONDS_BETWEEN_LINES or step == facts.steps):
            return
        left = (now - self._started_at) / (done - self._first) * (facts.epochs * facts.steps - done)
        text = _figures(totals, self._spike_rate, left)
        if self._bar is not None:
            title = f"epoch {epoch}/{facts.epochs}"
            self._bar.update(self._task, completed=done, description=title, figures=text)
        else:
            self._last_line = now
            self._say(f"epoch {epoch}/{facts.epochs}  step {step}/{facts.steps}  {text}")

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        self._spike_rate = row.spike_rate
        spikes = "" if row.spike_rate is None else f" spikes {row.spike_rate:.3f}"
        self._last_line = time.monotonic()
        self._say(  # 80 columns; metrics.csv has every digit
            f"epoch {row.epoch}/{self._facts.epochs}  loss {row.train_loss:.3f} top-1 {row.train_top1:.1f} % "
            f"norm {row.grad_norm:.2g}{spikes} lr {row.lr:.2g} {row.images_per_second:.0f}/s"
        )

    def measuring(self, images: int) -> None:
        self.closed()
        if self._live:
            self._open("validating", images, 0)
        else:
            self._say(f"validating on {images:,} images")

    def measured(self, images: int) -> None:
        if self._bar is not None:
            self._bar.advance(self._task, images)
            task = self._bar.tasks[0]
            self._bar.update(self._task, figures=f"{task.completed:,.0f} of {task.total:,.0f} images")

    def validated(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        self.closed()
        figures = ", ".join(f"{figure_in_words(name)} {value:.4g}" for name, value in row.val.items())
        self._say(f"epoch {row.epoch}  validation: {figures}")
        if self._live and row.epoch < self._facts.epochs:
            self._open("training", self._facts.epochs * self._facts.steps, row.step)

    def closed(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _open(self, title: str, total: int, done: int) -> None:
        words = (TextColumn("{task.description}"), TextColumn("{task.fields[figures]}"))
        bar = (BarColumn(20),) if self._console.width >= _WIDE else ()
        self._bar = Progress(*words, *bar, console=self._console, transient=True)
        self._task = self._bar.add_task(title, total=total, completed=done, figures="")
        self._bar.start()

    def _say(self, line: str) -> None:
        self._console.print(printable(line), soft_wrap=True, markup=False)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
