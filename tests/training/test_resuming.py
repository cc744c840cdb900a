"""Runs that end early: killed at any moment, interrupted, in each other's way; a resumed run is the undisturbed one."""

from __future__ import annotations

import csv
import json
import math
import os
import random
import shutil
import signal
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import zoo
from tests.data.made_data import folder, packed
from tests.training.made_runs import training
from tests.training.train_processes import TrainProcess, arguments
from zoo.cli import app
from zoo.data import ImageSplit
from zoo.data.splits import limit_images
from zoo.errors import InputError, WeightError
from zoo.training import DataOptions, Observer, train
from zoo.training.observers import EpochRow, StepFigures, Totals

NAME = "has8_resnet_b2_m2_d1_ste_bpd"
EPOCHS = 8
CHANGES = {"epochs": 3, "batch_size": 8, "precision": "no"}
SIZE = DataOptions(image_size=16)


def run(*given: str | Path) -> Result:
    return CliRunner().invoke(app, [str(each) for each in given])


# Killed processes -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made")
    packed(path / "train.npz", 48)
    packed(path / "val.npz", 10)
    return path


def _undisturbed(data: Path, out: Path, epochs: int) -> Path:
    process = TrainProcess(arguments(data, out, epochs=epochs), out.with_name("log"))
    assert process.end() == 0, process.text
    return out


@pytest.fixture(scope="module")
def whole(packs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    return _undisturbed(packs, tmp_path_factory.mktemp("undisturbed") / "whole", EPOCHS)


def _same_weights(one: Path, other: Path) -> bool:
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def _rows(out: Path) -> list[dict[str, str]]:
    """metrics.csv without its times."""
    with (out / "metrics.csv").open(encoding="utf-8") as file:
        return [{key: value for key, value in row.items() if "second" not in key} for row in csv.DictReader(file)]


def _seconds(out: Path) -> float:
    with (out / "metrics.csv").open(encoding="utf-8") as file:
        return statistics.median(float(row["seconds"]) for row in csv.DictReader(file))


def _kill_and_resume(data: Path, whole: Path, out: Path, moments: int, epochs: int) -> None:
    """Kill a process of the run that many times, at random moments; the weights are equal bit for bit."""
    log, draw, an_epoch = out.with_name("log"), random.Random(moments), _seconds(whole)
    for moment in range(moments):
        process = TrainProcess(arguments(data, out, "--resume", epochs=epochs), log)
        # The first before any checkpoint, the others after an epoch of their own, or after none.
        process.wait_for(f"/{epochs}  loss" if moment % 3 else f"{epochs} epochs of")
        time.sleep(draw.uniform(0, 2 * an_epoch))
        process.send(signal.SIGKILL)
        assert process.end() == -signal.SIGKILL, process.text
    process = TrainProcess(arguments(data, out, "--resume", epochs=epochs), log)
    assert process.end() == 0, process.text
    assert "resuming after epoch" in process.text
    assert _same_weights(whole, out)
    assert _rows(out) == _rows(whole)


def test_a_run_killed_twice_ends_at_the_same_weights(packs: Path, whole: Path, tmp_path: Path) -> None:
    _kill_and_resume(packs, whole, tmp_path / "killed", moments=2, epochs=EPOCHS)


@pytest.mark.slow
def test_a_run_killed_at_twenty_random_moments_ends_at_the_same_weights(packs: Path, tmp_path: Path) -> None:
    whole = _undisturbed(packs, tmp_path / "whole", epochs=100)
    _kill_and_resume(packs, whole, tmp_path / "killed", moments=20, epochs=100)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_an_interrupted_run_saves_within_the_epoch(
    packs: Path, whole: Path, tmp_path: Path, number: int, status: int
) -> None:
    out, log = tmp_path / "stopped", tmp_path / "log"
    process = TrainProcess(arguments(packs, out, epochs=EPOCHS), log)
    process.wait_for(f"epoch 1/{EPOCHS}")
    process.send(number)
    assert process.end() == status, process.text
    assert f"stopped: by {signal.Signals(number).name} after epoch" in process.text
    assert (out / "checkpoint.pt").is_file()
    assert not (out / "config.json").exists()
    process = TrainProcess(arguments(packs, out, "--resume", epochs=EPOCHS), log)
    assert process.end() == 0, process.text
    assert _same_weights(whole, out)


def test_one_process_trains_in_a_folder_and_only_resume_continues(packs: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "run", tmp_path / "log"
    process = TrainProcess(arguments(packs, out, epochs=400), log)
    process.wait_for("epoch 1/400")
    other = TrainProcess(arguments(packs, out, "--resume", epochs=400), tmp_path / "other")
    assert other.end() == 2
    assert f"another process is training in {out}" in other.text
    process.send(signal.SIGKILL)
    assert process.end() == -signal.SIGKILL
    for more, said in (((), "--resume"), (("--resume", "--seed", "4"), "seed (3407, now 4)")):
        again = TrainProcess(arguments(packs, out, *more, epochs=400), log)
        assert again.end() == 2
        assert said in again.text


@pytest.mark.slow
def test_a_run_killed_while_it_is_measured_has_a_weight_and_only_measures_again(tmp_path: Path) -> None:
    packed(tmp_path / "train.npz", 16)
    packed(tmp_path / "val.npz", 400)
    out, log, slowly = tmp_path / "run", tmp_path / "log", ("--eval-batch-size", "1")
    process = TrainProcess(arguments(tmp_path, out, *slowly, epochs=2), log)
    process.wait_for("validating on 400 images")
    process.send(signal.SIGKILL)
    assert process.end() == -signal.SIGKILL, process.text
    before = (out / "model.safetensors").read_bytes()
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["zoo"]["weight"]["metrics"] == {}
    process = TrainProcess(arguments(tmp_path, out, "--resume", "--json", epochs=2), log)
    assert process.end() == 0, process.text
    assert "  loss " not in process.text.partition("validating")[0]
    assert (out / "model.safetensors").read_bytes() == before
    result = json.loads(process.text.splitlines()[-1])
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))
    assert config["zoo"]["weight"]["metrics"] == {"top1": round(result["top1"], 4)}
    # If a finished run is stopped while it is measured again, its figures stay.
    process = TrainProcess(arguments(tmp_path, out, "--resume", *slowly, epochs=2), log)
    process.wait_for("validating on 400 images")
    process.send(signal.SIGTERM)
    assert process.end() == 143, process.text
    assert json.loads((out / "config.json").read_text(encoding="utf-8")) == config


# In one process -------------------------------------------------------------------------------------------------------


def test_every_setting_that_differs_is_named(data: ImageSplit, tmp_path: Path) -> None:
    training(data, tmp_path).save()
    for changed, said in (
        (lambda: training(data, tmp_path, epochs=9, seed=1), r"epochs \(3, now 9\), seed \(3407, now 1\)"),
        (lambda: training(data, tmp_path, NAME.replace("ste_bpd", "fourier_rate")), "model"),
        (lambda: training(data, tmp_path, accumulate=2), "number of micro-batches"),
        (lambda: training(limit_images(data, 16), tmp_path), "images .*data fingerprint"),
    ):
        with pytest.raises(InputError, match=said):
            changed().resume()


def test_a_look_that_was_broken_off_is_made_when_the_run_is_resumed(data: ImageSplit, tmp_path: Path) -> None:
    looks: list[int] = []

    def fail() -> None:
        raise InputError("no")

    with pytest.raises(InputError):
        training(data, tmp_path).run(fail, 1)
    run = training(data, tmp_path)
    assert run.resume()

    def look() -> None:
        looks.append(run.epoch)
        run.rows[-1].val["top1"] = 50.0

    run.run(look, 1)
    assert looks == [1, 2]


class Interrupt(Exception):
    """Ends a run in the middle, as a power cut would."""


class Interrupter(Observer):
    """Breaks a run off after one of its epochs was saved."""

    def __init__(self, after: int) -> None:
        self._after = after

    def epoch_ended(self, row: EpochRow, rows: Any) -> None:
        if row.epoch == self._after:
            raise Interrupt


class Stopper(Observer):
    """Sends the process a signal after a step, as Ctrl-C does."""

    def stepped(self, epoch: int, step: int, figures: StepFigures, totals: Totals) -> None:
        if (epoch, step) == (2, 1):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("own") / "photos", {"night": 20, "noon": 20}, size=(20, 16))


@pytest.fixture(scope="module")
def stopped(photos: Path) -> Path:
    """The folder of a run that was broken off after its second epoch of three."""
    out = photos.parent / "stopped"
    with pytest.raises(Interrupt):
        train(NAME, photos, changes=CHANGES, out=out, options=SIZE, observers=[Interrupter(2)], workers=0)
    return out


def test_an_unfinished_run_is_no_weight_and_says_how_to_continue(stopped: Path) -> None:
    with pytest.raises(WeightError, match=f"--out {stopped} --resume"):
        zoo.create_model(f"local-dir:{stopped}")


# Extended runs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(photos: Path) -> Path:
    """The folder of a run of two epochs."""
    changes = CHANGES | {"epochs": 2}
    return train(NAME, photos, changes=changes, out=photos.parent / "finished", options=SIZE, workers=0).folder


def _more(photos: Path, out: Path, epochs: int, *observers: Observer, **settings: Any) -> Any:
    changes = CHANGES | {"epochs": epochs} | settings
    return train(NAME, photos, changes=changes, out=out, options=SIZE, resume=True, observers=observers, workers=0)


def test_a_finished_run_is_extended_by_more_epochs(finished: Path, photos: Path, tmp_path: Path) -> None:
    for name in ("undisturbed", "interrupted"):
        shutil.copytree(finished, tmp_path / name)
    result = _more(photos, tmp_path / "undisturbed", 4)
    assert [row.epoch for row in result.rows] == [1, 2, 3, 4]
    assert result.rows[1].lr == pytest.approx(0, abs=1e-9)
    # The cosine over four epochs, after three of them.
    assert result.rows[2].lr == pytest.approx(3e-3 * (1 + math.cos(3 * math.pi / 4)) / 2, rel=1e-4)
    assert any("finished after 2 epochs" in note for note in result.notes)
    assert result.weight.epochs == 4
    with pytest.raises(Interrupt):
        _more(photos, tmp_path / "interrupted", 4, Interrupter(3))
    again = _more(photos, tmp_path / "interrupted", 4)
    assert again.weight.sha256 == result.weight.sha256
    assert again.weight.recipe == result.weight.recipe
    assert "finished 2 epochs" in again.weight.recipe


def test_other_settings_are_another_run(finished: Path, stopped: Path, photos: Path) -> None:
    with pytest.raises(InputError, match=r"epochs \(2, now 1\)"):
        _more(photos, finished, 1)
    with pytest.raises(InputError, match=r"learning_rate \(0.003, now 0.1\)"):
        _more(photos, finished, 4, learning_rate=0.1)
    with pytest.raises(InputError, match="--epochs 3 first"):
        _more(photos, stopped, 5)
    changes = {key: value for key, value in CHANGES.items() if key != "epochs"}
    with pytest.raises(InputError, match="--epochs 14 extends it"):  # a default alone does not
        train(NAME, photos, changes=changes, out=finished, options=SIZE, resume=True, workers=0)
