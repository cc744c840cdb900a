"""The live line of the accuracy benchmark, and one lasting line for each run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.accuracy.configurations import Configuration
from benchmarks.accuracy.runs import Run
from zoo.training import Observer
from zoo.training.observers.base import EpochRow, RunFacts, StepFigures, Totals


class RunLine(Observer):
    """One live line for all runs: which, how far, loss, top-1, gradient norm, time left; a lasting line for each."""

    def __init__(self, total: int) -> None:
        console = Console(stderr=True, highlight=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, figures="")
        self._total, self._done = total, 0

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Inside, the line is there."""
        with self._bar:
            yield

    def begin(self, name: str, seed: int) -> None:
        """A run starts."""
        self._bar.update(self._task, description=f"{name} {seed}", completed=self._done, figures="")

    def started(self, facts: RunFacts, rows: Sequence[EpochRow]) -> None:
        self._facts = facts

    def stepped(self, epoch: int, step: int, figures: StepFigures, totals: Totals) -> None:
        facts, means = self._facts, totals.figures()
        part = ((epoch - 1) * facts.steps + step) / (facts.epochs * facts.steps)
        text = f"epoch {epoch}/{facts.epochs}  loss {means['train_loss']:.3f}  top-1 {means['train_top1']:.1f} %"
        text += f"  norm {means['grad_norm']:.3g}"
        self._bar.update(self._task, completed=self._done + part, figures=text)

    def measuring(self, images: int) -> None:
        self._bar.update(self._task, figures=f"measuring on {images:,} images")

    def ended(self, configuration: Configuration, seed: int, run: Run | str) -> None:
        """A run has its record, or a reason why not."""
        self._done += 1
        self._bar.update(self._task, completed=self._done)
        if isinstance(run, str):
            text = run
        elif run.top1 is None:
            text = f"stopped: {run.error}"
        else:
            text = f"top-1 {run.top1:.2f} %, {run.seconds:.0f} s"
        line = f"[{self._done}/{self._total}] {configuration.name}, seed {seed}: {text}"
        self._bar.console.print(line, soft_wrap=True, markup=False)
