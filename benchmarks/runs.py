"""The program of trainings: benchmarks/runs.yaml says how every weight is made, and this makes what is missing.

    python -m benchmarks.runs --list                                     # every run, and how far it is
    python -m benchmarks.runs --data DIR --work DIR --minutes 150        # goes on with the program, and ends in time
    python -m benchmarks.runs --data DIR --work DIR --only b8-sparse     # makes one weight again

A run has a folder of its name in WORK. What was stopped is resumed; what is finished, or listed in the repository, is
not made again. Runs that a run starts from are made before it; so are listed ones, if `--only` names a listed weight.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

import torch
import typer
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import safe_open
from safetensors.torch import load_file, save

from benchmarks.common.reporting import print_table
from zoo.catalog.files import read_file
from zoo.cpu.memory import keep_freed_memory
from zoo.errors import InputError, TrainingStoppedError, ZooError
from zoo.files import folder_beside, replace_files
from zoo.training import DataOptions, train
from zoo.weights.load import CONFIG, MODEL, RUN

ROOT = Path(__file__).parents[1]
PROGRAM = Path(__file__).with_suffix(".yaml")
ROUNDED = "-float16"
"""Ends the name of a folder whose weight was rounded."""

app = typer.Typer(add_completion=False)


class Run(BaseModel):
    """One training; runs.yaml explains the fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str | None = None
    source: str | None = Field(default=None, alias="from")
    control: str | None = None
    recipe: str
    changes: dict[str, Any] = Field(default={}, alias="set")
    options: dict[str, dict[str, Any]] = {}
    images: int | None = None
    through: str | None = None
    accumulate: int = 1
    validate_every: int = 0
    float16: bool = False
    averaged: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    weight: str | None = None

    @model_validator(mode="after")
    def _begins_once(self) -> Self:
        if (self.model is None) == (self.source is None):
            raise ValueError("a run has either `model` or `from`")
        return self

    @property
    def recipe_file(self) -> str | Path:
        """The recipe as `zoo train` takes it."""
        plugin, slash, name = self.recipe.partition("/")
        package = f"zoo_weights_{plugin.replace('-', '_')}"
        return ROOT / f"plugins/zoo-weights-{plugin}/{package}/recipes/{name}.yaml" if slash else self.recipe

    def data_of(self, data: str) -> str:
        """The data as `zoo train` takes them: through the data sets of plugins, if the run says so."""
        return data if self.through is None else f"{self.through}:{data}"

    @property
    def needs(self) -> Iterator[str]:
        """Runs or weights that it starts from, or learns from."""
        yield from filter(None, (self.source, self.control, self.changes.get("teacher"), *self.averaged))


def read_program(path: Path = PROGRAM) -> dict[str, Run]:
    """Read the runs in their order, one for each seed; raises `InputError` if one is wrong, or needs a later one."""
    runs: dict[str, Run] = {}
    for name, content in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        try:
            run = Run.model_validate(content)
        except ValidationError as error:
            raise InputError(f"{path}, run {name}: {error}") from error
        made = {f"{name}-{seed}": _with_seed(run, seed, runs) for seed in run.seeds} or {name: run}
        for needed in (needed for each in made.values() for needed in each.needs):
            if needed not in runs and "." not in needed:
                raise InputError(f"{path}, run {name} needs {needed}, which is neither a run above it nor NAME.TAG")
        runs |= made
    return runs


def _with_seed(run: Run, seed: int, runs: Mapping[str, Run]) -> Run:
    """Return the run of one seed, which goes on from that seed's if there are several."""
    source = f"{run.source}-{seed}" if f"{run.source}-{seed}" in runs else run.source
    return run.model_copy(update={"changes": run.changes | {"seed": seed}, "seeds": (), "source": source})


def chain(name: str, runs: Mapping[str, Run], again: bool) -> list[str]:
    """List a run and the runs that it needs, those first; `again` with those whose weight is listed."""
    needed = [each for each in runs[name].needs if each in runs and (again or recorded(runs[each].weight) is None)]
    before = [each for one in needed for each in chain(one, runs, again)]
    return list(dict.fromkeys([*before, name]))


def is_finished(folder: Path) -> bool:
    """Say if a run's folder holds its result."""
    return (folder / RUN).is_file() and "result" in json.loads((folder / RUN).read_text(encoding="utf-8"))


def is_made(name: str, run: Run, work: Path) -> bool:
    """Say if a run is finished, and rounded if it is to be."""
    return is_finished(work / name) and (not run.float16 or (work / (name + ROUNDED)).is_dir())


def make(name: str, runs: Mapping[str, Run], data: str, work: Path, minutes: float | None) -> float:
    """Train a run, or go on with it; returns the top-1, in percent, of its result as it was trained."""
    run = runs[name]

    def place(needed: str | None) -> str | None:
        if needed is None or needed not in runs:
            return needed
        if not is_made(needed, runs[needed], work):  # it is listed, then
            return runs[needed].weight
        return f"local-dir:{(work / (needed + ROUNDED * runs[needed].float16)).resolve()}"

    changes = dict(run.changes)
    if "teacher" in changes:
        changes["teacher"] = place(changes["teacher"])
    tag = run.weight.rpartition(".")[2] if run.weight else name  # what goes on from it may have any other
    result = train(
        place(run.source) or str(run.model),
        run.data_of(data),
        recipe=run.recipe_file,
        changes=changes,
        out=work / name,
        resume=True,
        tag=tag,
        control=place(run.control),
        model_options=run.options,
        options=DataOptions(limit=run.images),
        accumulate=run.accumulate,
        validate_every=run.validate_every,
        minutes=minutes,
    )
    if run.float16:
        round_weight(work / name, [work / each for each in run.averaged], work / (name + ROUNDED))
    return result.metrics["top1"]


def round_weight(run: Path, others: Sequence[Path], out: Path) -> None:
    """Copy a run's folder, its weight rounded to float16, or the mean of it and others; its figures stay."""
    weights = [load_file(folder / MODEL) for folder in (run, *others)]
    floats = [key for key, value in weights[0].items() if value.dtype == torch.float32]
    rounded = {key: torch.stack([weight[key] for weight in weights]).mean(0).half() for key in floats}
    with safe_open(run / MODEL, "pt") as file:
        content = save(weights[0] | rounded, metadata=file.metadata())
    config = json.loads((run / CONFIG).read_text(encoding="utf-8"))
    config["zoo"]["weight"] |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    with folder_beside(out, replace=True) as folder:
        files = {MODEL: content, RUN: (run / RUN).read_bytes(), CONFIG: json.dumps(config, indent=1).encode()}
        replace_files(folder, files)


@cache
def _listed() -> dict[str, float]:
    """Read the top-1 of every weight of the repository, in percent, by its name."""
    files = [ROOT / "registry.yaml", *sorted(ROOT.glob("plugins/*/*/registry.yaml"))]
    records = [record for file in files for record in read_file(file).weights]
    return {record.name: record.metrics["top1"] for record in records}


def recorded(weight: str | None) -> float | None:
    """Return the top-1 that the repository states of a weight, in percent; None if it lists none of that name."""
    return None if weight is None else _listed().get(weight)


def describe(name: str, runs: Mapping[str, Run], work: Path | None) -> list[str]:
    """Make a row of `--list`."""
    run = runs[name]
    listed = recorded(run.weight)
    state = "to do" if _is_missing(run, name in _steps(runs)) else "listed" if run.weight else "a step"
    if work is not None and is_finished(work / name):
        result = json.loads((work / name / RUN).read_text(encoding="utf-8"))["result"]
        state = f"made, {result['top1']:.2f}"
    elif work is not None and (work / name).is_dir():
        state = "begun"
    return [name, run.weight or "", "" if listed is None else f"{listed:.2f}", state]


@app.command()
def main(
    data: Annotated[str | None, typer.Option(help="A folder with train.npz and val.npz, or as `zoo train`.")] = None,
    work: Annotated[Path | None, typer.Option(help="Holds a folder for every run.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="From now; a run is saved and stopped in time.")] = None,
    only: Annotated[str | None, typer.Option(metavar="RUN|NAME.TAG", help="Make this one, listed or not.")] = None,
    shows: Annotated[bool, typer.Option("--list", help="Show every run, and make none.")] = False,
    program: Annotated[Path, typer.Option(help="The file of runs.")] = PROGRAM,
) -> None:
    """Go on with the program of trainings."""
    end = time.monotonic() + 60 * (minutes or 0)
    keep_freed_memory()  # as `zoo train` does
    try:
        runs = read_program(program)
        if shows:
            rows = [describe(name, runs, work) for name in runs]
            print_table(str(program), ["run", "weight", "listed top-1 %", "state"], rows)
            return
        if data is None or work is None:
            raise InputError("--data and --work say what to train on, and where; or --list")
        for name in _choose(runs, only):
            if is_made(name, runs[name], work):
                typer.echo(f"{name} is made already, in {work / name}")
                continue
            left = None if minutes is None else max(0.0, (end - time.monotonic()) / 60)
            top1 = make(name, runs, data, work, left)
            listed = recorded(runs[name].weight)
            typer.echo(f"{name}: top-1 {top1:.2f} %" + ("" if listed is None else f", listed with {listed:.2f} %"))
    except TrainingStoppedError as error:
        typer.echo(f"{error}; the same command goes on", err=True)
    except ZooError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def _choose(runs: Mapping[str, Run], only: str | None) -> list[str]:
    """List the runs to make in their order; raises `InputError` for a name that is none."""
    if only is None:
        steps = _steps(runs)
        ends = [name for name, run in runs.items() if _is_missing(run, name in steps)]
        return list(dict.fromkeys(each for name in ends for each in chain(name, runs, again=False)))
    named = {run.weight: name for name, run in runs.items() if run.weight} | {name: name for name in runs}
    if only not in named:
        raise InputError(f"{only} is neither a run nor a weight of the program; --list shows them")
    return chain(named[only], runs, again=recorded(runs[named[only]].weight) is not None)


def _steps(runs: Mapping[str, Run]) -> set[str]:
    """Name what other runs need."""
    return {each for run in runs.values() for each in run.needs}


def _is_missing(run: Run, is_step: bool) -> bool:
    """Say if a run is to be made for its own sake: its weight is not listed, or its figure is all that it is for."""
    if run.weight is None:
        return not is_step
    return recorded(run.weight) is None


if __name__ == "__main__":
    app()
