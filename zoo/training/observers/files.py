"""What a run leaves for later eyes: metrics.csv, TensorBoard's events, and a picture of the curves."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from zoo.errors import TrainingError, missing_extra
from zoo.training.files import replace_bytes, replace_file
from zoo.training.observers.base import EpochRow, Observer, RunFacts, StepFigures, Totals

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

METRICS = "metrics.csv"
CURVES = "curves.png"
EVENTS = "tensorboard"
_EVERY = 50
"""Optimiser steps between two points of TensorBoard's curves."""


@final
class MetricsFile(Observer):
    """metrics.csv: one row an epoch, written anew each time, so that a run that goes on has each epoch once."""

    def __init__(self, out: Path) -> None:
        self._path = out / METRICS

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        replace_bytes(self._path, metrics_csv(rows))

    def validated(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        replace_bytes(self._path, metrics_csv(rows))


def metrics_csv(rows: Sequence[EpochRow]) -> bytes:
    """The bytes of metrics.csv; what was not measured is left empty."""
    contents = [row.to_json() for row in rows]
    columns = list(dict.fromkeys(key for content in contents for key in content))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(contents)
    return text.getvalue().encode()


@final
class TensorBoard(Observer):
    """Event files: loss, norm and rate every 50 steps, all of metrics.csv every epoch, against optimiser steps."""

    def __init__(self, out: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise missing_extra(error, "TensorBoard", "train") from error
        self._make = SummaryWriter
        self._folder = out / EVENTS
        self._steps = 0
        self._writer: SummaryWriter | None = None

    def started(self, facts: RunFacts, rows: Sequence[EpochRow]) -> None:
        self._steps = facts.steps
        done = facts.first_epoch * facts.steps + facts.first_step
        # What an earlier process wrote after its last checkpoint is computed again.
        with self._told():
            self._writer = self._make(str(self._folder), purge_step=done + 1 if done else None)

    def stepped(self, epoch: int, step: int, figures: StepFigures, totals: Totals) -> None:
        place = (epoch - 1) * self._steps + step
        if place % _EVERY == 0:
            values = {"loss": figures.loss, "grad_norm": figures.grad_norm, "lr": figures.lr}
            self._add({f"step/{name}": value for name, value in values.items()}, place, flush=False)

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        values = {name: value for name, value in row.to_json().items() if name not in ("epoch", "step")}
        self._add({f"epoch/{name}": value for name, value in values.items() if value is not None}, row.step)

    def validated(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        self._add({f"epoch/val_{name}": value for name, value in row.val.items()}, row.step)

    def closed(self) -> None:
        with self._told():
            if self._writer is not None:
                self._writer.close()

    def _add(self, values: Mapping[str, float], step: int, *, flush: bool = True) -> None:
        with self._told():
            if self._writer is None:
                return
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
            if flush:
                self._writer.flush()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """An error of the file system as one of the run; what could not be written is not tried again at the end."""
        try:
            yield
        except OSError as error:
            self._writer = None
            raise TrainingError(
                f"TensorBoard's events cannot be written to {self._folder}, which must be a folder with room in it "
                f"({error.strerror or error}); move away what is there or make room, then go on with --resume"
            ) from error


@final
@dataclass(frozen=True)
class _Panel:
    """Curves of one picture: its axis's title with the unit, and key of a row → what the legend says."""

    title: str
    curves: Mapping[str, str]
    logarithmic: bool = False


_PANELS = (
    _Panel("loss, nats", {"train_loss": "training", "val_loss": "validation"}),
    _Panel("top-1 accuracy, %", {"train_top1": "training, augmented images", "val_top1": "validation"}),
    _Panel("learning rate (lr)", {"lr": "lr"}),
    _Panel("gradient norm before clipping", {"grad_norm": "gradient norm"}, logarithmic=True),
    _Panel("spike rate, per neuron and timestep", {"spike_rate": "spike rate"}),
)


def draw_curves(rows: Sequence[EpochRow], title: str, path: Path) -> None:
    """Loss, accuracy, learning rate, gradient norm and spike rate by epoch, two pictures a row, as a PNG.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ModuleNotFoundError as error:
        raise missing_extra(error, CURVES, "train") from error
    contents = [row.to_json() for row in rows]
    panels = [panel for panel in _PANELS if any(c.get(key) is not None for c in contents for key in panel.curves)]
    columns = min(2, len(panels))
    rows_of_panels = -(-len(panels) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.4 * rows_of_panels + 0.4), layout="constrained")
    figure.suptitle(title)
    places = figure.subplots(rows_of_panels, columns, squeeze=False).flatten()
    for axes, panel in zip(places, panels, strict=False):
        for key, label in panel.curves.items():
            points = [(c["epoch"], c[key]) for c in contents if c.get(key) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), marker="." if len(points) < 30 else "", label=label)
        axes.set(xlabel="epoch", ylabel=panel.title, yscale="log" if panel.logarithmic else "linear")
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(panel.curves) > 1:
            axes.legend()
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    replace_file(path, lambda file: figure.savefig(file, format="png", dpi=120))
