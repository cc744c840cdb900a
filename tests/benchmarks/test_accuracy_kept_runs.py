"""Runs of the accuracy benchmark that are trained and not measured: nothing is trained twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accuracy.progress import RunLine
from tests.benchmarks.test_accuracy import ANN, data, records, run, written
from zoo.errors import MemoryLimitError, TrainingError
from zoo.training.observers.base import StepFigures, Totals

__all__ = ["data"]  # the fixture
TWO = ("--only", ANN, "--control-seeds", 2)


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    out = tmp_path_factory.mktemp("undisturbed")
    assert run(data, out, *TWO).exit_code == 0
    assert not list((out / "runs").iterdir())  # what is recorded needs no folder
    return figures(out)


def figures(out: Path) -> list[Any]:
    runs = [each for each in records(out) if each["kind"] == "run"]
    return [{key: value for key, value in each.items() if "seconds" not in key} for each in runs]


def break_measuring(patch: pytest.MonkeyPatch, error: Exception) -> None:
    """Of the first run, once it is trained."""
    own, calls = RunLine.measuring, []

    def failing(self: RunLine, images: int) -> None:
        calls.append(images)
        own(self, images)
        if len(calls) == 1:
            raise error

    patch.setattr(RunLine, "measuring", failing)


def count_steps(patch: pytest.MonkeyPatch) -> list[int]:
    own, steps = RunLine.stepped, []

    def counting(self: RunLine, epoch: int, step: int, figures: StepFigures, totals: Totals) -> None:
        steps.append(step)
        own(self, epoch, step, figures, totals)

    patch.setattr(RunLine, "stepped", counting)
    return steps


def by_seed(runs: Sequence[Any]) -> list[Any]:
    return sorted(runs, key=lambda each: each["seed"])


@pytest.mark.slow
@pytest.mark.parametrize("error", [MemoryLimitError("too many images"), TrainingError("no room on the disk")])
def test_what_cannot_be_measured_is_told_and_only_measured_by_the_next_call(
    error: Exception, data: Path, undisturbed: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        break_measuring(patch, error)
        first = run(data, tmp_path, *TWO)
    assert first.exit_code == 0, first.output
    assert f"broken off, the next call goes on with it: {error}" in first.output
    assert [each["seed"] for each in figures(tmp_path)] == [3408]  # the other one is recorded all the same
    assert [each["seed"] for each in written(tmp_path)["rows"][0]["runs"]] == [3408]
    (kept,) = (tmp_path / "runs").iterdir()
    assert "-3407-" in kept.name
    steps = count_steps(monkeypatch)
    assert run(data, tmp_path, *TWO).exit_code == 0
    assert steps == []
    assert by_seed(figures(tmp_path)) == undisturbed
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.slow
def test_a_defect_while_measuring_loses_neither_the_run_nor_those_before(
    data: Path, undisturbed: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(data, tmp_path, "--only", ANN, "--control-seeds", 1).exit_code == 0
    with monkeypatch.context() as patch:
        break_measuring(patch, ZeroDivisionError("a defect"))
        assert isinstance(run(data, tmp_path, *TWO).exception, ZeroDivisionError)
    assert [each["seed"] for each in figures(tmp_path)] == [3407]
    before = [each["seconds"] for each in records(tmp_path) if each["kind"] == "run"]
    steps = count_steps(monkeypatch)
    assert run(data, tmp_path, *TWO).exit_code == 0
    assert steps == []
    assert figures(tmp_path) == undisturbed
    # The time of the training is in the record, though another process may have measured.
    last = records(tmp_path)[-1]
    assert last["seconds"] > 0.2 * before[0]
    assert last["cpu_seconds"] > 0
