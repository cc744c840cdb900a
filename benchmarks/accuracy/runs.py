"""The runs of the accuracy benchmark: each is trained, measured and recorded at once, and none is made twice.

The records are lines of JSON in one file, which may hold runs of several budgets: a run counts as done where name,
seed, data and every setting are the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

import zoo
from benchmarks.accuracy.configurations import Configuration
from zoo.data.fingerprints import earlier_form
from zoo.errors import (
    CompositionError,
    DivergenceError,
    InputError,
    MemoryLimitError,
    TrainingError,
    UnknownComponentError,
)
from zoo.profiling import count_cost
from zoo.training import DataSplits, Observer, Recipe, TrainingResult, train
from zoo.training.observers.base import EpochRow

PAPER_IMAGE_SIZE = 224

BROKEN_OFF = (MemoryLimitError, TrainingError)
REFUSALS = (CompositionError, InputError, UnknownComponentError, *BROKEN_OFF)
"""What ends a run without a record, but not the runs after it."""


class Run(BaseModel):
    """A run that ended: with figures, or with the reason why it has none.

    Attributes:
        budget: the key of `Budget`.
        top1: percent of the validation images; None where the run stopped.
        top5: likewise; None also where there are five classes or fewer.
        loss: of the validation images.
        train_loss: of the last epoch, as all figures below.
        grad_norm: mean before clipping; None where it was infinite.
        seconds: on the clock, of training and measuring; of a run that was broken off, without what was lost.
        cpu_seconds: of the processor, over all threads.
        error: why it stopped.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["run"] = "run"
    budget: str
    name: str
    seed: int
    top1: float | None = None
    top5: float | None = None
    loss: float | None = None
    train_top1: float | None = None
    train_loss: float | None = None
    grad_norm: float | None = None
    spike_rate: float | None = None
    steps: int | None = None
    seconds: float
    cpu_seconds: float
    threads: int
    torch: str
    error: str | None = None


class Counted(BaseModel):
    """What a network costs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["cost"] = "cost"
    name: str
    classes: int
    image_size: int
    params: int
    macs: int
    macs_per_timestep: int
    timesteps: int


class Spent(BaseModel):
    """What a trained network spends on an image.

    Attributes:
        images: that it is an average over.
        microjoules: by float32 arithmetic at 45 nm.
        spike_rate: spikes per neuron and timestep; None where nothing spikes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["energy"] = "energy"
    budget: str
    name: str
    seed: int
    images: int
    microjoules: float
    spike_rate: float | None = None


Record = Run | Counted | Spent
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


@dataclass(frozen=True)
class Budget:
    """What every run has.

    Attributes:
        data: both splits, limited.
        recipe: all settings, with the seed that a run replaces.
        threads: of the CPU.
    """

    data: DataSplits
    recipe: Recipe
    threads: int

    @property
    def key(self) -> str:
        """The same for the same data and settings; threads are not part of it."""
        settings = self.recipe.model_dump(mode="json", exclude={"seed"})
        # Names and lengths alone, as when the first records of the ledger were written.
        facts = [settings, *(earlier_form(split.fingerprint()) for split in (self.data.train, self.data.val))]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


class Ledger:
    """The file of the records. A line that a killed process left half-written is cut off; another one in its place."""

    def __init__(self, path: Path) -> None:
        """Raises `InputError` where a line is not a record."""
        self.path = path
        self._runs: dict[tuple[str, str, int], Run] = {}
        self._costs: dict[tuple[str, int, int], Counted] = {}
        self._energies: dict[tuple[str, str, int], Spent] = {}
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        if lines.pop():  # what stands behind the last line feed
            os.truncate(path, sum(len(line) + 1 for line in lines))
        for number, line in enumerate(lines, 1):
            try:
                self._keep(_RECORD.validate_json(line))
            except ValidationError as error:
                raise InputError(
                    f"{path}, line {number}, is not a record of this benchmark ({error.errors()[0]['msg']}); "
                    "remove the line, or name another --state"
                ) from error

    def add(self, record: Record) -> None:
        """Write one line, through to the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(record.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._keep(record)

    def run(self, budget: str, name: str, seed: int) -> Run | None:
        """The record of that run."""
        return self._runs.get((budget, name, seed))

    def cost(self, name: str, classes: int, image_size: int) -> Counted | None:
        """The record of that count."""
        return self._costs.get((name, classes, image_size))

    def runs(self) -> list[Run]:
        """All of them, of every budget."""
        return list(self._runs.values())

    def energy(self, run: Run) -> Spent | None:
        """What the network of that run spends."""
        return self._energies.get((run.budget, run.name, run.seed))

    def _keep(self, record: Record) -> None:
        if isinstance(record, Run):
            self._runs[record.budget, record.name, record.seed] = record
        elif isinstance(record, Spent):
            self._energies[record.budget, record.name, record.seed] = record
        else:
            self._costs[record.name, record.classes, record.image_size] = record


def finite(value: float | None) -> float | None:
    """None for what is not a number, or none of the finite ones."""
    return value if value is not None and math.isfinite(value) else None


def count(name: str, classes: int, image_size: int, ledger: Ledger) -> Counted:
    """The network's cost, from the ledger or counted and recorded."""
    known = ledger.cost(name, classes, image_size)
    if known is None:
        cost = count_cost(zoo.create_model(name, num_classes=classes), image_size)
        known = Counted(
            name=name,
            classes=classes,
            image_size=image_size,
            params=cost.params,
            macs=cost.macs,
            macs_per_timestep=cost.macs_per_timestep,
            timesteps=cost.timesteps,
        )
        ledger.add(known)
    return known


TIMES = "times.json"
"""Beside a run's checkpoint: what the run took so far."""


class Stopwatch(Observer):
    """Time that a run takes, over all processes that go on with it: kept with every checkpoint, and at the end."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / TIMES
        self._before = json.loads(self._path.read_bytes()) if self._path.is_file() else [0.0, 0.0]
        self._began = time.perf_counter(), time.process_time()

    @property
    def taken(self) -> tuple[float, float]:
        """Seconds on the clock, and of the processor."""
        now = time.perf_counter(), time.process_time()
        clock, processor = (
            before + end - start for before, start, end in zip(self._before, self._began, now, strict=True)
        )
        return clock, processor

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        self.closed()

    def closed(self) -> None:
        beside = self._path.with_suffix(".tmp")
        beside.write_text(json.dumps(self.taken), encoding="utf-8")
        beside.replace(self._path)


def run_folder(work: Path, name: str, seed: int, budget: str) -> Path:
    """Where that run is made; it goes on there, whatever broke it off.

    Args:
        work: keeps the folders.
        name: of the model.
        seed: of the run.
        budget: the key of a `Budget`.
    """
    return work / f"{name}-{seed}-{budget}"


def train_one(name: str, seed: int, budget: Budget, work: Path, observer: Observer) -> Run:
    """Train and measure; an explosion is a record too.

    A run that was trained and not measured is only measured.

    Args:
        name: of the model.
        seed: of the run.
        budget: all the rest.
        work: keeps the run's folder, and goes on in it.
        observer: who is told of the progress.

    Raises:
        TrainingStoppedError: SIGINT or SIGTERM came.
        ZooError: as `train` does, but for `DivergenceError`.
    """
    out = run_folder(work, name, seed, budget.key)
    stopwatch = Stopwatch(out)
    figures: dict[str, Any]
    try:
        result = train(
            name,
            budget.data,
            recipe=budget.recipe,
            changes={"seed": seed},
            out=out,
            resume=True,
            observers=[observer, stopwatch],
        )
        figures = _figures(result)
    except DivergenceError as error:
        figures = {"error": str(error)}
    seconds, cpu_seconds = stopwatch.taken
    facts: dict[str, Any] = {"threads": budget.threads, "torch": torch.__version__}
    return Run(budget=budget.key, name=name, seed=seed, seconds=seconds, cpu_seconds=cpu_seconds, **figures, **facts)


def _figures(result: TrainingResult) -> dict[str, Any]:
    last = result.rows[-1]
    return {
        "top1": round(result.metrics["top1"], 4),
        "top5": round(result.metrics["top5"], 4) if "top5" in result.metrics else None,
        "loss": finite(result.metrics["loss"]),
        "train_top1": last.train_top1,
        "train_loss": finite(last.train_loss),
        "grad_norm": finite(last.grad_norm),
        "spike_rate": last.spike_rate,
        "steps": last.step,
    }


def make_runs(
    configurations: Iterable[Configuration],
    budget: Budget,
    ledger: Ledger,
    train_run: Callable[[str, int], Run],
    clean: Callable[[str, int], object] = lambda name, seed: None,
) -> Iterator[tuple[Configuration, int, Run | str]]:
    """Every run, seed by seed: from the ledger, or made now and recorded before it is given.

    Args:
        configurations: what to train.
        budget: of all.
        ledger: of what is done.
        train_run: trains one name with one seed.
        clean: removes what such a run left, once its record is on the disk.

    Yields:
        (configuration, seed, the record). In place of a record, the reason why there is none: a plugin is missing, the
        network does not take such images, memory or disk is full; that is tried again the next time.
    """
    for each in configurations:
        for seed in each.seeds:
            run = ledger.run(budget.key, each.name, seed)
            if run is None:
                try:
                    run = train_run(each.name, seed)
                except REFUSALS as error:
                    reason = explain(each, error)
                else:
                    ledger.add(run)
            if run is not None:
                clean(each.name, seed)
            yield each, seed, run or reason


def explain(configuration: Configuration, error: Exception) -> str:
    """Why a network cannot be trained here, and what to do."""
    if configuration.plugin is not None and isinstance(error, UnknownComponentError):
        return f"not run: {configuration.plugin} is not installed; pip install ./plugins/{configuration.plugin}"
    broken_off = isinstance(error, BROKEN_OFF)
    return f"{'broken off, the next call goes on with it' if broken_off else 'not run'}: {error}"
