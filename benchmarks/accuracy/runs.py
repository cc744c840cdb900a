"""Runs of the accuracy benchmark: each is trained, measured and recorded at once, and none is made twice.

Records are lines of JSON in one file, which may hold several budgets. A run is done if name, seed, data and every
setting are the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

import zoo
from benchmarks.accuracy.configurations import Configuration
from zoo.data import DataSplits
from zoo.errors import CompositionError, DivergenceError, InputError, MemoryLimitError, TrainingError
from zoo.errors import UnknownComponentError as Unknown
from zoo.profiling import count_cost
from zoo.training import Recipe, train

PAPER_IMAGE_SIZE = 224

REFUSALS = (CompositionError, InputError, Unknown, MemoryLimitError, TrainingError)
"""Errors that leave a run without a record, but let the next ones go on."""


class Run(BaseModel):
    """A run that ended: with figures, or with the reason why it has none.

    Attributes:
        budget: the key of `Budget`.
        top1: percent of the validation images; None if the run diverged.
        top5: likewise; None also for five classes or fewer.
        loss: of the validation images.
        train_loss: of the last epoch, as all figures below.
        grad_norm: mean before clipping; None if it was infinite.
        seconds: on the clock, of training and measuring in the process that ended the run.
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
    """Parameters and operations of a network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["cost"] = "cost"
    name: str
    classes: int
    image_size: int
    params: int
    macs: int
    macs_per_timestep: int
    timesteps: int


Record = Run | Counted
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


@dataclass(frozen=True)
class Budget:
    """Data, settings and threads that all runs share.

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
        """Sixteen hex digits, the same for the same data and settings; threads are not part of it."""
        facts: list[Any] = [self.recipe.model_dump(mode="json", exclude={"seed"})]
        facts += [split.fingerprint() for split in (self.data.train, self.data.val)]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


class Ledger:
    """The file of records. A line that a killed process left half-written is cut off."""

    def __init__(self, path: Path) -> None:
        """Read the file; raises `InputError` if a line is not a record."""
        self.path = path
        self._runs: dict[tuple[str, str, int], Run] = {}
        self._costs: dict[tuple[str, int, int], Counted] = {}
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        if lines.pop():  # after the last line feed
            os.truncate(path, sum(len(line) + 1 for line in lines))
        for number, line in enumerate(lines, 1):
            try:
                self._keep(_RECORD.validate_json(line))
            except ValidationError as error:
                raise InputError(f"{path}, line {number}, is not a record of this benchmark; remove it") from error

    def add(self, record: Record) -> None:
        """Write one line, through to the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(record.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._keep(record)

    def run(self, budget: str, name: str, seed: int) -> Run | None:
        """Return the record of that run."""
        return self._runs.get((budget, name, seed))

    def cost(self, name: str, classes: int, image_size: int) -> Counted | None:
        """Return the record of that count."""
        return self._costs.get((name, classes, image_size))

    def _keep(self, record: Record) -> None:
        if isinstance(record, Run):
            self._runs[record.budget, record.name, record.seed] = record
        else:
            self._costs[record.name, record.classes, record.image_size] = record


def count(name: str, classes: int, image_size: int, ledger: Ledger) -> Counted:
    """Look a network's cost up in the ledger, or count and record it."""
    known = ledger.cost(name, classes, image_size)
    if known is None:
        cost = count_cost(zoo.create_model(name, num_classes=classes), image_size)
        figures = {key: getattr(cost, key) for key in ("params", "macs", "macs_per_timestep", "timesteps")}
        known = Counted(name=name, classes=classes, image_size=image_size, **figures)
        ledger.add(known)
    return known


def run_folder(work: Path, name: str, seed: int, budget: str) -> Path:
    """Return the folder of that run under `work`; `budget` is the key of a `Budget`."""
    return work / f"{name}-{seed}-{budget}"


def train_one(name: str, seed: int, budget: Budget, work: Path) -> Run:
    """Train, or go on with the run in `work`, and measure; a divergence is a record too."""
    out = run_folder(work, name, seed, budget.key)
    clock, processor = time.perf_counter(), time.process_time()
    figures: dict[str, Any]
    try:
        result = train(name, budget.data, recipe=budget.recipe, changes={"seed": seed}, out=out, resume=True)
    except DivergenceError as error:
        figures = {"error": str(error)}
    else:
        last = result.rows[-1]
        figures = {
            "top1": round(result.metrics["top1"], 4),
            "top5": round(result.metrics["top5"], 4) if "top5" in result.metrics else None,
            "loss": _finite(result.metrics["loss"]),
            "train_top1": last.train_top1,
            "train_loss": _finite(last.train_loss),
            "grad_norm": _finite(last.grad_norm),
            "spike_rate": last.spike_rate,
            "steps": last.step,
        }
    return Run(
        budget=budget.key,
        name=name,
        seed=seed,
        seconds=time.perf_counter() - clock,
        cpu_seconds=time.process_time() - processor,
        threads=budget.threads,
        torch=torch.__version__,
        **figures,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def make_runs(
    configurations: Iterable[Configuration], budget: Budget, ledger: Ledger, macs_size: int, work: Path | None
) -> Iterator[tuple[Configuration, int, Run | str]]:
    """Yield (configuration, seed, record) of every run, from the ledger or made now.

    A reason takes the record's place if the run cannot be made: a plugin is missing, the network does not take such
    images, memory or disk is full. It is tried again the next time.

    Args:
        configurations: what to train.
        budget: of all.
        ledger: of what is done.
        macs_size: pixels a side that MACs are counted at.
        work: keeps the runs' folders; None for one beside the records, which loses each that is recorded.
    """
    folder = work or ledger.path.parent / "runs"
    for each in configurations:
        for seed in each.seeds:
            outcome: Run | str | None = ledger.run(budget.key, each.name, seed)
            if outcome is None:
                try:
                    count(each.name, len(budget.data.train.classes), macs_size, ledger)
                    outcome = train_one(each.name, seed, budget, folder)
                    ledger.add(outcome)
                except REFUSALS as error:
                    outcome = explain(each, error)
            if isinstance(outcome, Run) and work is None:
                shutil.rmtree(run_folder(folder, each.name, seed, budget.key), ignore_errors=True)
            yield each, seed, outcome


def explain(configuration: Configuration, error: Exception) -> str:
    """Say why a network cannot be trained here, and what to do."""
    if configuration.plugin is not None and isinstance(error, Unknown):
        return f"not run: {configuration.plugin} is not installed; pip install ./plugins/{configuration.plugin}"
    broken_off = isinstance(error, MemoryLimitError | TrainingError)
    return f"{'broken off, the next call goes on with it' if broken_off else 'not run'}: {error}"
