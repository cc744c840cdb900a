"""The folder of a run: its lock, its checkpoint, and run.json, which says what was asked for."""

from __future__ import annotations

import json
import re
import shlex
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import BytesIO
from os.path import abspath
from pathlib import Path
from typing import Any, final

import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, NonNegativeInt, PositiveInt, ValidationError
from torch import Tensor

from zoo.catalog.records import complaints
from zoo.data import DataOptions
from zoo.errors import InputError, TrainingError, WeightError
from zoo.files import LOCK, locked, remove_parts, replace_bytes
from zoo.processes import launcher
from zoo.training.figures import EpochRow, StepFigures
from zoo.weights.load import CONFIG, MODEL, RUN

CHECKPOINT = "checkpoint.pt"


@final
class Checkpoint(BaseModel):
    """The state of a run between two steps.

    What is random in a step follows from (seed, epoch, step, micro-batch), and the learning rate from the position.

    Attributes:
        identity: of the run's setup.
        epochs: that the run is to have.
        epoch, steps: whole epochs done, and the figures of the steps after them.
        seconds: that these steps took.
        rows: figures of the whole epochs.
        restarts: epochs after which the schedule started again, since the run was given more of them.
        model, averaged, optimizer: of the engine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    identity: dict[str, JsonValue]
    epochs: PositiveInt
    epoch: NonNegativeInt
    steps: list[StepFigures]
    seconds: float
    rows: list[EpochRow]
    restarts: list[int]
    model: dict[str, Tensor]
    averaged: dict[str, Tensor] | None
    optimizer: dict[str, Any]


@final
class RunConfig(BaseModel):
    """What a run was asked for: the arguments of `train`, as run.json keeps them."""

    model_config = ConfigDict(frozen=True)

    begin: str
    data: str = Field(description="a path or name; otherwise the data were in memory")
    dataset: str = Field(description="what the data are called")
    recipe: str
    changes: dict[str, Any] = {}
    tag: str | None = Field(default=None, description="None for the data's name")
    control: str | None = None
    model_options: dict[str, dict[str, Any]] = {}
    image_size: int | None = None
    data_root: Path | None = None
    limit_images: int | None = None
    in_memory_bytes: int = DataOptions().in_memory_bytes
    accumulate: int = 1
    device: str = "auto"
    validate_every: int = 0
    trackers: tuple[str, ...] = ()

    @property
    def is_nameable(self) -> bool:
        """Whether `data` finds the data again."""
        return bool(self.data) and not self.data.startswith("data in memory")

    @property
    def data_options(self) -> DataOptions:
        """How the data are read."""
        return DataOptions(self.image_size, self.data_root, self.limit_images, self.in_memory_bytes)


@final
class StoredRun(BaseModel):
    """What a run goes on by in run.json: what was asked for, all settings of the recipe, and the parts of a step."""

    asked: RunConfig
    settings: dict[str, Any]
    processes: int
    accumulated_batches: int

    @property
    def micro_batches(self) -> int:
        """Parts of a step."""
        return self.processes * self.accumulated_batches


@final
class RunFolder:
    """The files of one run, which one process writes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint = path / CHECKPOINT
        self._is_held: Callable[[], bool] = lambda: True

    def check(self, resume: bool, data: object = None) -> None:
        """Raise `InputError` if it holds what this run must not replace, or is one of the class folders of its data."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file; choose a folder as `out`")
        present = [name for name in (CHECKPOINT, RUN, MODEL, CONFIG) if (self.path / name).exists()]
        if present and not (resume and RUN in present):
            contents = f"{self.path} holds {', '.join(present)}"
            raise InputError(f"{contents}; continue a run by `resume=True`, or choose another `out`")
        undivided = isinstance(data, str | Path) and Path(data).is_dir() and not any(Path(data).glob("train*"))
        if undivided and self.path.resolve().is_relative_to(Path(str(data)).resolve()):
            raise InputError(f"{self.path} lies in {data}, where a folder is a class; choose another `out`")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder; raises `InputError` if another process trains in it."""
        with ExitStack() as stack:
            try:
                self._is_held = stack.enter_context(locked(self.path))
            except BlockingIOError as error:
                raise InputError(
                    f"another process is training in {self.path}; choose another `out`, or wait until it has ended "
                    "and continue by `resume=True`"
                ) from error
            remove_parts(self.path)  # of a run that was killed while it saved
            yield

    # The checkpoint

    def write_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint by the fields of a `Checkpoint`; raises `TrainingError` if the lock was removed."""
        if not self._is_held():
            raise TrainingError(
                f"somebody removed {self.path / LOCK}; another process may train there: see that none does"
            )
        buffer = BytesIO()  # torch.save hides the reason if a file cannot be written
        torch.save(dict(state), buffer)
        replace_bytes(self.checkpoint, buffer.getvalue())

    def read_checkpoint(self) -> Checkpoint | None:
        """Read the checkpoint, without running any code in it; None without one, and `WeightError` if it is damaged."""
        if not self.checkpoint.is_file():
            return None
        try:
            return Checkpoint.model_validate(_load_archive(self.checkpoint.read_bytes()))
        except Exception as error:  # torch's reader raises errors of any type on bytes that it did not write
            raise self.unfit(error) from error

    def unfit(self, error: Exception) -> WeightError:
        """Make the error of a checkpoint that this run cannot have written."""
        reason = str(error).strip().partition("\n")[0]
        return WeightError(
            f"{self.checkpoint} is damaged, or not a checkpoint of this version of `zoo train` "
            f"({type(error).__name__}: {reason}); restore the file, or start with another `out`"
        )

    # run.json

    def write_run(self, content: Mapping[str, Any]) -> None:
        """Replace run.json."""
        replace_bytes(self.path / RUN, f"{json.dumps(content, indent=1, default=str)}\n".encode())

    def read_run(self) -> StoredRun:
        """Read run.json; raises `InputError`."""
        file = self.path / RUN
        try:
            return StoredRun.model_validate_json(file.read_bytes())
        except OSError as error:
            raise InputError(
                f"{self.path} holds no run ({error.strerror}); start one by a model's name and `data`"
            ) from error
        except ValidationError as error:
            raise InputError(f"{file} is not one of `zoo train`: {complaints(error)}") from error

    def continuation(self, config: RunConfig) -> str:
        """Say how the run is continued: by a command, unless its data were in memory."""
        if not config.is_nameable:
            return f"continue with the same data: train(…, out={str(self.path)!r}, resume=True)"
        return f"continue with: {launcher()}zoo train --resume --out {shlex.quote(str(self.path))}"

    def check_processes(self, stored: StoredRun, processes: int, accumulate: int) -> None:
        """Raise `InputError` if a step of the run would have other parts than before; it names what has the same."""
        parts = stored.micro_batches
        if parts == processes * accumulate:
            return
        valid = f"{parts} processes, or 1 with `accumulate={parts}`"
        if parts % processes == 0:
            valid = f"`accumulate={parts // processes}`, or {valid}"
        raise InputError(
            f"a step of the run in {self.path} has {parts} parts, and {processes} processes with "
            f"`accumulate={accumulate}` make {processes * accumulate}; continue it with {valid}"
        )


def _load_archive(content: bytes) -> Any:
    """Load what `torch.save` wrote; raises an error of any type for bytes that it did not write."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        damaged = archive.testzip()  # torch does not compare the checksums of what it reads
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} has another checksum than when it was written")
    return torch.load(BytesIO(content), map_location="cpu", weights_only=True)


def default_tag(source: object) -> str:
    """A tag for weights that were trained on `source`: the name of its folder, file or data set."""
    name = Path(abspath(source)).stem if isinstance(source, str | Path) else ""
    return re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_") or "trained"
