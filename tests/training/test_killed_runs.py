"""Runs that end early: killed at any moment, interrupted, in each other's way; what goes on is what would have been."""

from __future__ import annotations

import csv
import json
import random
import signal
import statistics
import time
from pathlib import Path

import pytest

from tests.data.made_data import packed
from tests.training.train_processes import TrainProcess, arguments

EPOCHS = 8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    packed(folder / "train.npz", 48)
    packed(folder / "val.npz", 10)
    return folder


def _undisturbed(data: Path, out: Path, epochs: int) -> Path:
    process = TrainProcess(arguments(data, out, epochs=epochs), out.with_name("log"))
    assert process.end() == 0, process.text
    return out


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    return _undisturbed(data, tmp_path_factory.mktemp("undisturbed") / "whole", EPOCHS)


def _same_weights(one: Path, other: Path) -> bool:
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def _rows(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _kill_and_go_on(data: Path, whole: Path, out: Path, moments: int, epochs: int) -> None:
    """Kill a process of the run that many times, at random moments of its work; the weights are bit-equal."""
    log, draw = out.with_name("log"), random.Random(moments)
    an_epoch = statistics.median(float(row["seconds"]) for row in _rows(whole))
    for moment in range(moments):
        process = TrainProcess(arguments(data, out, "--resume", epochs=epochs), log)
        # The first before any checkpoint, the others after an epoch of their own, or after none. A kill may have come
        # between a checkpoint and its row of metrics.csv, so which epoch that is, is not asked.
        process.wait_for(f"/{epochs}  loss" if moment % 3 else f"{epochs} epochs of")
        time.sleep(draw.uniform(0, 2 * an_epoch))
        process.send(signal.SIGKILL)
        assert process.end() == -signal.SIGKILL, process.text
    process = TrainProcess(arguments(data, out, "--resume", epochs=epochs), log)
    assert process.end() == 0, process.text
    assert "going on after epoch" in process.text
    assert _same_weights(whole, out)
    figures = [{key: value for key, value in row.items() if "second" not in key} for row in _rows(out)]
    assert figures == [{key: value for key, value in row.items() if "second" not in key} for row in _rows(whole)]


def test_a_run_killed_twice_ends_at_the_same_weights(data: Path, whole: Path, tmp_path: Path) -> None:
    _kill_and_go_on(data, whole, tmp_path / "killed", moments=2, epochs=EPOCHS)


@pytest.mark.slow
def test_a_run_killed_at_ten_random_moments_ends_at_the_same_weights(data: Path, tmp_path: Path) -> None:
    whole = _undisturbed(data, tmp_path / "whole", epochs=60)
    _kill_and_go_on(data, whole, tmp_path / "killed", moments=10, epochs=60)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_saves_within_the_epoch(
    data: Path, whole: Path, tmp_path: Path, number: int, status: int
) -> None:
    out, log = tmp_path / "stopped", tmp_path / "log"
    process = TrainProcess(arguments(data, out, epochs=EPOCHS), log)
    process.wait_for(f"epoch 1/{EPOCHS}")
    process.send(number)
    assert process.end() == status, process.text
    assert f"stopped: by {signal.Signals(number).name} after epoch" in process.text
    assert "--resume goes on" in process.text
    assert (out / "checkpoint.pt").is_file()
    assert not (out / "config.json").exists()
    process = TrainProcess(arguments(data, out, "--resume", epochs=EPOCHS), log)
    assert process.end() == 0, process.text
    assert _same_weights(whole, out)


def test_a_run_is_not_gone_on_with_by_chance(data: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    process = TrainProcess(arguments(data, out, epochs=400), log)
    process.wait_for("epoch 1/400")
    other = TrainProcess(arguments(data, out, "--resume", epochs=400), tmp_path / "other")
    assert other.end() == 2
    assert f"another process is training in {out}" in other.text
    process.send(signal.SIGKILL)
    assert process.end() == -signal.SIGKILL
    again = TrainProcess(arguments(data, out, epochs=400), log)
    assert again.end() == 2
    assert f"error: {out} holds a run already; go on with it by --resume" in again.text
    changed = TrainProcess(arguments(data, out, "--resume", "--seed", "4", epochs=400), log)
    assert changed.end() == 2
    assert "was made with other settings: seed (3407, now 4)" in changed.text


@pytest.mark.slow
def test_a_finished_run_is_measured_again_and_stays(data: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    assert TrainProcess(arguments(data, out, epochs=1), log).end() == 0
    files = (out / "model.safetensors", out / "config.json")
    before = [path.read_bytes() for path in files]
    again = TrainProcess(arguments(data, out, "--resume", "--json", epochs=1), log)
    assert again.end() == 0, again.text
    assert json.loads(again.text.splitlines()[-1])["epochs"] == 1
    assert [path.read_bytes() for path in files] == before
