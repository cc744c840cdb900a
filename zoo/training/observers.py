"""Progress of a run: its figures, the observers that receive them, and the files that they write."""

from __future__ import annotations

import csv
import io
import re
import sys
import time
from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from zoo import files
from zoo.errors import InputError, TrainingError, missing_extra, printable
from zoo.inference.show import COLOURS

if TYPE_CHECKING:
    from accelerate import Accelerator

METRICS, CURVES, EVENTS = "metrics.csv", "curves.png", "tensorboard"


# Figures --------------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class RunFacts:
    """A run before its first step.

    Attributes:
        name: of the network.
        epochs: of the whole run.
        steps: optimiser steps of an epoch.
        batch_size: images of a step.
        first_epoch, first_step: epochs done before, and steps of the next one, if the run was resumed.
        images: size of the images, and the reason for it.
        notes: for the reader.
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
        grad_norm: of all parameters, before clipping; NaN if fp16's loss scaling skipped the step.
        hits: images classified correctly.
        images: images seen.
        lr: learning rate of the step.
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
        """Add a step."""
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

    def row(self, epoch: int, step: int, lr: float, spike_rate: float | None) -> EpochRow:
        """The row of the epoch, at its end."""
        means: dict[str, Any] = self.figures()
        return EpochRow(epoch, step, lr=lr, spike_rate=spike_rate, **means)


@final
@dataclass
class EpochRow:
    """One epoch, a row of metrics.csv.

    Attributes:
        epoch: from 1.
        step: optimiser steps since the beginning of the run.
        train_loss: mean over steps of the loss that is minimised, with all its terms.
        train_top1: percent, on the augmented images, while the weights changed.
        lr: learning rate of the last step.
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


# Observers ------------------------------------------------------------------------------------------------------------


class Observer(ABC):  # noqa: B024
    """Receives the progress of a run, in its first process; override what you need.

    Example:
        >>> from zoo.training import Observer
        >>> class Losses(Observer):
        ...     def __init__(self):
        ...         self.losses = []
        ...     def stepped(self, epoch, step, figures, totals):
        ...         self.losses.append(figures.loss)
    """

    def started(self, facts: RunFacts, rows: Sequence[EpochRow]) -> None:  # noqa: B027
        """Before the first step; `rows` are the epochs done before."""

    def stepped(self, epoch: int, step: int, figures: StepFigures, totals: Totals) -> None:  # noqa: B027
        """After a step; epoch and step count from 1, `totals` are the epoch's so far."""

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:  # noqa: B027
        """After an epoch was saved; `row` is the last of `rows`."""

    def measuring(self, images: int) -> None:  # noqa: B027
        """Before that many validation images are classified."""

    def measured(self, images: int) -> None:  # noqa: B027
        """After some of them."""

    def validated(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:  # noqa: B027
        """After all of them; `row`, the last of `rows`, has the figures."""

    def closed(self) -> None:  # noqa: B027
        """At the end, also after an error."""


@final
class Display(Observer):
    """Progress on stderr: a live line in a terminal, plain lines elsewhere.

    Attributes:
        shown: the notes that were printed at the start.
    """

    def __init__(self, seconds_between_lines: float = 30.0) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = sys.stderr.isatty()
        self._pause = seconds_between_lines
        self._bar: Progress | None = None
        self._spike_rate: float | None = None
        self.shown: Sequence[str] = ()

    def started(self, facts: RunFacts, rows: Sequence[EpochRow]) -> None:
        self._facts, self.shown = facts, facts.notes
        self._first = facts.first_epoch * facts.steps + facts.first_step
        self._spike_rate = rows[-1].spike_rate if rows else None
        self._started_at = self._last_line = time.monotonic()
        epochs, steps = _counted(facts.epochs, "epoch"), _counted(facts.steps, "step")
        lines = [f"{facts.name}: {epochs} of {steps} of {facts.batch_size} images", facts.images]
        for line in (*filter(None, lines), *(f"note: {note}" for note in facts.notes)):
            self._say(line)
        if self._first:
            self._say(f"resuming after epoch {facts.first_epoch}, step {facts.first_step} of the next")
        self._open("training", facts.epochs * facts.steps, self._first)

    def stepped(self, epoch: int, step: int, figures: StepFigures, totals: Totals) -> None:
        facts, now = self._facts, time.monotonic()
        if self._bar is None and (now - self._last_line < self._pause or step == facts.steps):
            return
        done, total = (epoch - 1) * facts.steps + step, facts.epochs * facts.steps
        left = timedelta(seconds=round((now - self._started_at) / (done - self._first) * (total - done)))
        means = totals.figures()
        text = (  # at most 64 characters, which fit beside the epoch in 80 columns
            f"loss {means['train_loss']:.3f} top-1 {means['train_top1']:.1f} % norm {means['grad_norm']:.2g}"
            f"{_spikes(self._spike_rate)} {means['images_per_second']:.0f}/s {left} left"
        )
        if self._bar is not None:
            self._update(completed=done, description=f"epoch {epoch}/{facts.epochs}", figures=text)
        else:
            self._last_line = now
            self._say(f"epoch {epoch}/{facts.epochs}  step {step}/{facts.steps}  {text}")

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        self._spike_rate, self._last_line = row.spike_rate, time.monotonic()
        self._say(  # 80 columns; metrics.csv has every digit
            f"epoch {row.epoch}/{self._facts.epochs}  loss {row.train_loss:.3f} top-1 {row.train_top1:.1f} % "
            f"norm {row.grad_norm:.2g}{_spikes(row.spike_rate)} lr {row.lr:.2g} {row.images_per_second:.0f}/s"
        )

    def measuring(self, images: int) -> None:
        self.closed()
        if not self._live:
            self._say(f"validating on {images:,} images")
        self._open("validating", images, 0)

    def measured(self, images: int) -> None:
        if self._bar is not None:
            task = self._bar.tasks[0]
            done = int(task.completed) + images
            self._update(completed=done, figures=f"{done:,} of {task.total:,.0f} images")

    def validated(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        self.closed()
        figures = ", ".join(f"{figure_in_words(name)} {value:.4g}" for name, value in row.val.items())
        self._say(f"epoch {row.epoch}  validation: {figures}")
        if row.epoch < self._facts.epochs:
            self._open("training", self._facts.epochs * self._facts.steps, row.step)

    def closed(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _open(self, title: str, total: int, done: int) -> None:
        if not self._live:
            return
        words = (TextColumn("{task.description}"), TextColumn("{task.fields[figures]}"))
        bar = (BarColumn(20),) if self._console.width >= 120 else ()
        self._bar = Progress(*words, *bar, console=self._console, transient=True)
        self._bar.add_task(title, total=total, completed=done, figures="")
        self._bar.start()

    def _update(self, **content: Any) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], **content)

    def _say(self, line: str) -> None:
        self._console.print(printable(line), soft_wrap=True, markup=False)


def figure_in_words(name: str) -> str:
    """Turn `top1` into `top-1`; other names stay."""
    return re.sub(r"^top(\d+)$", r"top-\1", name)


def _spikes(rate: float | None) -> str:
    return "" if rate is None else f" spikes {rate:.3f}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@final
class MetricsFile(Observer):
    """metrics.csv, one row an epoch, rewritten each time, so that a resumed run has each epoch once."""

    def __init__(self, out: Path) -> None:
        self._path = out / METRICS

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        write_file(self._path, metrics_csv(rows))

    def validated(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        write_file(self._path, metrics_csv(rows))


def metrics_csv(rows: Sequence[EpochRow]) -> bytes:
    """The bytes of metrics.csv; figures that were not measured are left empty."""
    contents = [row.to_json() for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for content in contents for key in content)))
    writer.writeheader()
    writer.writerows(contents)
    return text.getvalue().replace("\r\n", "\n").encode()


@final
class Trackers(Observer):
    """Experiment trackers by accelerate: loss, norm and rate every 50 steps, a row of metrics.csv every epoch.

    Args:
        accelerator: made with `log_with` and the run's folder as `project_dir`.
        config: settings that the trackers show.
    """

    def __init__(self, accelerator: Accelerator, config: Mapping[str, Any], every: int = 50) -> None:
        self._accelerator, self._config, self._every = accelerator, config, every
        self._steps = 0

    def started(self, facts: RunFacts, rows: Sequence[EpochRow]) -> None:
        self._steps = facts.steps
        done = facts.first_epoch * facts.steps + facts.first_step
        # Whatever an earlier process logged after its last checkpoint is computed again.
        options = {"tensorboard": {"purge_step": done + 1 if done else None}}
        try:
            self._accelerator.init_trackers(EVENTS, init_kwargs=options)
            for tracker in self._accelerator.trackers:
                if tracker.name != "tensorboard":  # whose hyperparameters are a run of their own
                    tracker.store_init_configuration(dict(self._config))
        except OSError as error:
            self._accelerator.trackers = []  # of which one did not start
            raise _unwritable(Path(self._accelerator.logging_dir) / EVENTS, error) from error

    def stepped(self, epoch: int, step: int, figures: StepFigures, totals: Totals) -> None:
        place = (epoch - 1) * self._steps + step
        if place % self._every == 0:
            values = {"loss": figures.loss, "grad_norm": figures.grad_norm, "lr": figures.lr}
            self._accelerator.log({f"step/{name}": value for name, value in values.items()}, step=place)

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        values = {name: value for name, value in row.to_json().items() if name not in ("epoch", "step")}
        self._log({f"epoch/{name}": value for name, value in values.items() if value is not None}, row.step)

    def validated(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        self._log({f"epoch/val_{name}": value for name, value in row.val.items()}, row.step)

    def closed(self) -> None:
        for tracker in self._accelerator.trackers:
            tracker.finish()
        self._accelerator.trackers = []

    def _log(self, values: Mapping[str, float], step: int) -> None:
        try:
            self._accelerator.log(dict(values), step=step)
        except OSError as error:
            raise _unwritable(Path(self._accelerator.logging_dir) / EVENTS, error) from error


def check_trackers(names: Sequence[str]) -> None:
    """Raise an error for a tracker that accelerate does not know, or whose package is missing."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise InputError(f"unknown tracker {name!r}; valid: {', '.join(sorted(LOGGER_TYPE_TO_CLASS))}")
        if name not in map(str, get_available_trackers()):
            if name == "tensorboard":
                raise missing_extra(ModuleNotFoundError(name=name), "TensorBoard", "train")
            raise InputError(f"the tracker {name} needs its package; install it with: pip install {name}")


# Files ----------------------------------------------------------------------------------------------------------------


def write_file(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Replace a file atomically, in a folder that is made if needed.

    Raises:
        TrainingError: the disk is full, or the file cannot be written; nothing is left beside it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace_file(path, content if callable(content) else lambda file: file.write(content))
    except (OSError, RuntimeError) as error:  # torch.save says only where it stopped
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: Exception) -> TrainingError:
    reason = str(error).partition("\n")[0]
    return TrainingError(f"{path} cannot be written ({reason}); make room, then continue with --resume")


_PANELS: Sequence[tuple[str, Mapping[str, str]]] = (
    ("loss, nats", {"train_loss": "training", "val_loss": "validation"}),
    ("top-1 accuracy, %", {"train_top1": "training, augmented images", "val_top1": "validation"}),
    ("learning rate (lr)", {"lr": "lr"}),
    ("gradient norm before clipping", {"grad_norm": "gradient norm"}),
    ("spike rate, per neuron and timestep", {"spike_rate": "spike rate"}),
)
"""Title of the vertical axis; key of a row → legend."""


def draw_curves(rows: Sequence[EpochRow], title: str, path: Path, loss_terms: str = "") -> None:
    """Draw loss, accuracy, learning rate, gradient norm and spike rate by epoch as a PNG.

    Args:
        rows: of all epochs.
        title: of the picture.
        path: of the PNG.
        loss_terms: what the training loss has and the validation loss lacks: `label smoothing 0.1`.

    Raises:
        MissingExtraError: matplotlib is not installed.
        TrainingError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ModuleNotFoundError as error:
        raise missing_extra(error, CURVES, "train") from error
    contents = [row.to_json() for row in rows]
    panels = [panel for panel in _PANELS if any(c.get(key) is not None for c in contents for key in panel[1])]
    height = -(-len(panels) // 2)
    figure = Figure(figsize=(10.4, 3.4 * height + 0.4), layout="constrained")
    figure.suptitle(title)
    places = figure.subplots(height, 2, squeeze=False).flatten()
    for axes, (quantity, curves) in zip(places, panels, strict=False):
        for key, label in curves.items():
            points = [(c["epoch"], c[key]) for c in contents if c.get(key) is not None]
            if points:
                colour = COLOURS["has8" if key.startswith("val_") else "ann"]
                terms = f", with {loss_terms}" if key == "train_loss" and loss_terms else ""
                marker = "." if len(points) < 30 else ""
                axes.plot(*zip(*points, strict=True), marker=marker, color=colour, label=label + terms)
        axes.set(xlabel="epoch", ylabel=quantity, yscale="log" if "norm" in quantity else "linear")
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(curves) > 1:
            axes.legend()
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    write_file(path, lambda file: figure.savefig(file, format="png", dpi=120))
