"""Runs that end early: killed, interrupted, in the way of others; a resumed run is the uninterrupted one."""

from __future__ import annotations

import csv
import json
import random
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import zoo
from tests.data.made_data import folder, packed
from tests.training.made_runs import assert_same, training
from tests.training.train_processes import TrainProcess, arguments
from zoo.cli import app
from zoo.data import DataSplits, ImageSplit
from zoo.data.splits import limit_images
from zoo.errors import InputError, TrainingError, TrainingStoppedError, UnfinishedWarning, WeightError
from zoo.files import LOCK, locked
from zoo.training import DataOptions, Observer, TrainingResult, resume, train
from zoo.training.figures import EpochRow, StepFigures

NAME, TINY = "has8_resnet_b2_m2_d1_ste_bpd", "ann_resnet_b1_m1_d1"
EPOCHS = 20
CHANGES = {"epochs": 3, "batch_size": 8, "precision": "no"}
SIZE = DataOptions(image_size=16)


def _rows(out: Path) -> list[dict[str, str]]:
    """metrics.csv without its times."""
    with (out / "metrics.csv").open(encoding="utf-8") as file:
        return [{key: value for key, value in row.items() if "second" not in key} for row in csv.DictReader(file)]


# Processes ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made")
    packed(path / "train.npz", 48)
    packed(path / "val.npz", 10)
    return path


@pytest.fixture(scope="module")
def whole(packs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    out = tmp_path_factory.mktemp("undisturbed") / "whole"
    process = TrainProcess(arguments(packs, out, epochs=EPOCHS), out.with_name("log"))
    assert process.end() == 0, process.text
    return out


def _resume(out: Path, whole: Path) -> None:
    process = TrainProcess(["train", "--resume", "--out", str(out)], out.with_name("log"))
    assert process.end() == 0, process.text
    assert "resuming after epoch" in process.text
    assert (whole / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    assert _rows(out) == _rows(whole)


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_at_the_same_weights(packs: Path, whole: Path, tmp_path: Path) -> None:
    out, draw = tmp_path / "killed", random.Random(7)
    for moment in range(10):
        process = TrainProcess(arguments(packs, out, "--resume", epochs=EPOCHS), tmp_path / "log")
        # The first before any checkpoint, the others after an epoch of their own, or after none.
        process.wait_for(f"/{EPOCHS}  loss" if moment % 3 else f": {EPOCHS} × ")
        time.sleep(draw.uniform(0, 0.5))
        process.send(signal.SIGKILL)
        assert process.end() == -signal.SIGKILL, process.text
    _resume(out, whole)


# In one process -------------------------------------------------------------------------------------------------------


def test_every_setting_that_differs_is_named(data: ImageSplit, tmp_path: Path) -> None:
    training(data, tmp_path).save()
    teacher = zoo.create_model(TINY, num_classes=2).eval()
    teacher.pretrained_cfg |= {"sha256": "0" * 64}
    for changed, said in (
        (lambda: training(data, tmp_path, teacher=teacher), r"teacher.*now 0000"),
        (lambda: training(data, tmp_path, epochs=9, seed=1), r"epochs \(3, now 9\), seed \(3407, now 1\)"),
        (lambda: training(data, tmp_path, NAME.replace("ste_bpd", "fourier_rate")), "model"),
        (lambda: training(data, tmp_path, accumulate=2), "number of micro-batches"),
        (lambda: training(limit_images(data, 16), tmp_path), "images .*data fingerprint"),
    ):
        with pytest.raises(InputError, match=said):
            changed().resume()


def test_a_setting_that_an_older_checkpoint_lacks_has_its_default(data: ImageSplit, tmp_path: Path) -> None:
    older = training(data, tmp_path)
    identity = older.setup.identity
    older.setup.identity = {name: value for name, value in identity.items() if name != "restart_epochs"}
    older.save()
    training(data, tmp_path).resume()
    with pytest.raises(InputError, match="restart_epochs"):
        training(data, tmp_path, restart_epochs=3.0).resume()


class Interrupt(Exception):
    """Ends a run in the middle, as a power cut would."""


class Interrupter(Observer):
    """Breaks a run off after one of its epochs was saved."""

    def __init__(self, after: int) -> None:
        self._after = after

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        if row.epoch == self._after:
            raise Interrupt


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("own") / "photos", {"night": 20, "noon": 20}, size=(20, 16))


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_resumed_run_is_the_uninterrupted_one(photos: Path, tmp_path: Path, epoch: int) -> None:
    changes = CHANGES | {"ema": 0.5, "max_shift": 2, "cutmix": 1.0, "randaugment": 1}
    whole = train(TINY, photos, changes=changes, out=tmp_path / "whole", options=SIZE, validate_every=1)

    def cut(**more: Any) -> TrainingResult:
        return train(TINY, photos, changes=changes, out=tmp_path / "cut", options=SIZE, validate_every=1, **more)

    with pytest.raises(Interrupt):
        cut(observers=[Interrupter(epoch)])
    with pytest.raises(InputError, match="resume=True"):
        cut()
    resumed = cut(resume=True)
    assert resumed.weight.sha256 == whole.weight.sha256
    assert resumed.evaluation.loss == whole.evaluation.loss
    assert _rows(tmp_path / "cut") == _rows(tmp_path / "whole")


class Raiser(Observer):
    """Sends a signal in the middle of an epoch; keeps what is said of the end."""

    def __init__(self, number: signal.Signals) -> None:
        self._number, self.told = number, ""

    def stepped(self, epoch: int, step: int, figures: StepFigures) -> None:
        if (epoch, step) == (2, 2):
            signal.raise_signal(self._number)

    def stopped(self, message: str) -> None:
        self.told = message


def _exit(number: int, frame: object) -> None:
    raise SystemExit(number)


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)], ids=["int", "term"]
)
def test_a_signal_acts_after_the_step_is_saved(
    photos: Path, tmp_path: Path, number: signal.Signals, expected: type[BaseException]
) -> None:
    changes = CHANGES | {"ema": 0.5, "cutmix": 1.0}
    whole = train(TINY, photos, changes=changes, out=tmp_path / "whole", options=SIZE)
    raiser, before = Raiser(number), signal.signal(signal.SIGTERM, _exit)
    try:
        with pytest.raises(expected):
            train(TINY, photos, changes=changes, out=tmp_path / "cut", options=SIZE, observers=[raiser])
        assert signal.getsignal(signal.SIGTERM) is _exit  # handlers are as they were
    finally:
        signal.signal(signal.SIGTERM, before)
    assert re.search(r"epoch 2 of 3\b.*step 2 of 4\b", raiser.told)
    assert f"zoo train --resume --out {tmp_path / 'cut'}" in raiser.told
    resumed = resume(tmp_path / "cut")
    assert resumed.weight == whole.weight
    assert _rows(tmp_path / "cut") == _rows(tmp_path / "whole")


def test_a_run_that_is_ended_after_every_step_is_the_uninterrupted_one(photos: Path, tmp_path: Path) -> None:
    changes = CHANGES | {"epochs": 2}
    whole = train(TINY, photos, changes=changes, out=tmp_path / "whole", options=SIZE)
    with pytest.raises(TrainingStoppedError, match="--resume"):
        train(TINY, photos, changes=changes, out=tmp_path / "cut", options=SIZE, minutes=0)
    ends = 1
    while not (tmp_path / "cut" / "config.json").exists():
        try:
            resume(tmp_path / "cut", minutes=0, observers=[])
        except TrainingStoppedError:
            ends += 1
    assert ends == whole.rows[-1].step
    assert _rows(tmp_path / "cut") == _rows(tmp_path / "whole")
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()


def test_what_a_folder_cannot_say_is_asked_for(data: ImageSplit, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        resume(tmp_path)
    (tmp_path / "run.json").write_text('{"asked": {"begin": 3}, "settings": {}}', encoding="utf-8")
    with pytest.raises(InputError, match=r"run\.json"):
        resume(tmp_path)
    splits = DataSplits(data, data)
    with pytest.raises(TrainingStoppedError, match="same data"):
        train(TINY, splits, changes=CHANGES, out=tmp_path / "memory", minutes=0)
    with pytest.raises(InputError, match="in memory"):
        resume(tmp_path / "memory")


# More epochs ----------------------------------------------------------------------------------------------------------


def test_more_epochs_of_a_constant_rate_are_those_of_a_longer_run(photos: Path, tmp_path: Path) -> None:
    changes = CHANGES | {"schedule": "constant", "warmup_epochs": 0}
    longer = train(TINY, photos, changes=changes, out=tmp_path / "longer", options=SIZE)
    train(TINY, photos, changes=changes | {"epochs": 1}, out=tmp_path / "run", options=SIZE)
    extended = resume(tmp_path / "run", changes={"epochs": 3})
    assert extended.weight.sha256 == longer.weight.sha256
    assert "again" not in extended.weight.recipe
    assert _rows(tmp_path / "run") == _rows(tmp_path / "longer")


def test_more_epochs_with_a_longer_warm_up_begin_the_schedule_again(photos: Path, tmp_path: Path) -> None:
    changes = CHANGES | {"schedule": "constant", "warmup_epochs": 1}
    train(TINY, photos, changes=changes | {"epochs": 1}, out=tmp_path / "run", options=SIZE)
    assert "started again" in resume(tmp_path / "run", changes={"epochs": 2}).weight.recipe


def test_more_epochs_of_a_falling_rate_begin_it_again_as_recorded(photos: Path, tmp_path: Path) -> None:
    changes = CHANGES | {"schedule": "cosine"}
    train(TINY, photos, changes=changes, out=tmp_path / "run", options=SIZE)
    with pytest.raises(TrainingStoppedError):
        resume(tmp_path / "run", changes={"epochs": 6}, minutes=0)
    extended = resume(tmp_path / "run")  # which knows of the six
    assert [row.epoch for row in extended.rows] == [1, 2, 3, 4, 5, 6]
    assert [row.lr for row in extended.rows[3:]] == pytest.approx([row.lr for row in extended.rows[:3]])
    assert "after epoch 3 the cosine schedule started again" in extended.weight.recipe
    assert extended.weight.epochs == 6
    with pytest.raises(TrainingStoppedError):
        train(TINY, photos, changes=changes, out=tmp_path / "cut", options=SIZE, minutes=0)
    with pytest.raises(InputError, match="epochs=3"):
        resume(tmp_path / "cut", changes={"epochs": 6})
    with pytest.raises(InputError, match="`epochs=4`"):  # fewer than its schedule is planned for
        resume(tmp_path / "run", changes={"epochs": 4})


class Rival(Observer):
    """Starts another run into the same folder, in the middle of the first."""

    def __init__(self, start: Callable[[], object]) -> None:
        self._start, self.refused = start, ""

    def stepped(self, epoch: int, step: int, figures: StepFigures) -> None:
        if not self.refused:
            with pytest.raises(InputError) as caught:
                self._start()
            self.refused = str(caught.value)


def test_two_runs_do_not_share_a_folder(photos: Path, tmp_path: Path) -> None:
    def start(**more: Any) -> TrainingResult:
        changes = CHANGES | {"epochs": 1}
        return train(TINY, photos, changes=changes, out=tmp_path / "run", options=SIZE, resume=True, **more)

    rival = Rival(lambda: start(observers=[]))
    alone = start(observers=[rival])
    assert "another process" in rival.refused
    assert str(tmp_path / "run") in rival.refused
    assert start().weight == alone.weight  # the lock is free again


HOLDER = """
import pathlib, sys, time
from zoo.files import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError), locked(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with locked(tmp_path):
            pass


def test_a_run_whose_lock_was_removed_ends_with_an_error(photos: Path, tmp_path: Path) -> None:
    class Remover(Observer):
        def stepped(self, epoch: int, step: int, figures: StepFigures) -> None:
            (tmp_path / "run" / LOCK).unlink(missing_ok=True)

    with pytest.raises(TrainingError, match=LOCK):
        train(TINY, photos, changes=CHANGES, out=tmp_path / "run", options=SIZE, observers=[Remover()])


def test_an_unfinished_run_can_be_looked_at(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(TrainingStoppedError):
        train(TINY, photos, changes=CHANGES, out=out, options=SIZE, minutes=0)
    with pytest.raises(WeightError, match=f"--resume --out {out}"):  # without a whole epoch
        zoo.create_model(f"local-dir:{out}")
    with pytest.raises(Interrupt):
        train(TINY, photos, changes=CHANGES, out=out, options=SIZE, resume=True, observers=[Interrupter(2)])
    with pytest.warns(UnfinishedWarning, match=f"--resume --out {out}"):
        model = zoo.create_model(f"local-dir:{out}")
    assert_same(dict(model.state_dict()), torch.load(out / "checkpoint.pt", weights_only=True)["model"])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        done = CliRunner().invoke(app, ["eval", str(out), "--data", str(photos), "--json"])
    assert done.exit_code == 0, done.output
    assert "unfinished" in done.stderr
    assert sum(map(sum, json.loads(done.stdout)["confusion"])) == 8  # images that it has not seen
    resume(out)
    assert not (out / "latest").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnfinishedWarning)
        zoo.create_model(f"local-dir:{out}")
