"""A run that was interrupted: what its last checkpoint is good for, and what every use of it says."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

import zoo
from tests.data.made_data import folder
from tools.record_run import record_run
from zoo.cli import app
from zoo.data.load import prepare_data
from zoo.errors import InputError, TrainingStoppedError, UnfinishedRunWarning, WeightError
from zoo.factory import open_model
from zoo.training import DataOptions, Observer, train
from zoo.training.observers.base import EpochRow, StepFigures, Totals

NAME = "has8_resnet_b2_m2_d1_ste_bpd"
CHANGES = {"epochs": 3, "batch_size": 8, "precision": "no"}
SIZE = DataOptions(image_size=16)


class Interrupt(Exception):
    """What ends a run in the middle, as a power cut would."""


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


NOTE = "holds a run that has not finished; these are the weights of its checkpoint after epoch 2 of 3"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_its_weights_are_those_of_the_checkpoint_and_a_warning_says_so(stopped: Path) -> None:
    with pytest.warns(UnfinishedRunWarning, match=NOTE):
        model = zoo.create_model(f"local-dir:{stopped}", pretrained=True)
    saved = torch.load(stopped / "checkpoint.pt", weights_only=True)["model"]
    state = model.state_dict()
    assert state.keys() == saved.keys()
    assert all(torch.equal(state[key], value) for key, value in saved.items())
    assert model.pretrained_cfg["label_names"] == ["night", "noon"]
    assert model.pretrained_cfg["input_size"] == (3, 16, 16)


def test_it_predicts_and_is_measured(stopped: Path, photos: Path) -> None:
    predicted = run("predict", "--model", stopped, photos / "noon" / "00001.jpg", "--json")
    assert predicted.exit_code == 0, predicted.output
    assert json.loads(predicted.stdout)["model"] == f"{NAME}.photos-epoch2"
    assert f"note: {stopped} {NOTE}" in predicted.stderr
    measured = run("eval", stopped, "--data", photos, "--json")
    assert measured.exit_code == 0, measured.output
    content = json.loads(measured.stdout)
    assert content["images"] == 8  # what it was not trained on
    assert content["notes"][0] == f"{stopped} {NOTE}"


def test_what_is_published_of_it_says_that_it_is_not_finished(stopped: Path, tmp_path: Path) -> None:
    done = run("publish", stopped, "--to-dir", tmp_path / "out", "--license", "MIT")
    assert done.exit_code == 0, done.output
    assert NOTE in done.stderr
    weight = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["zoo"]["weight"]
    assert weight["tag"] == "photos-epoch2"  # the run's own tag is that of its end, and bytes behind a tag never change
    assert (weight["epochs"], weight["metrics"]) == (2, {})
    assert "not finished: the checkpoint after epoch 2 of 3" in (tmp_path / "out" / "README.md").read_text("utf-8")
    zoo.create_model(f"local-dir:{tmp_path / 'out'}")


def test_a_run_stopped_within_an_epoch_names_the_step(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(TrainingStoppedError):
        train(NAME, photos, changes=CHANGES, out=out, options=SIZE, observers=[Stopper()], workers=0)
    with pytest.warns(UnfinishedRunWarning, match="checkpoint after step 2 in epoch 2 of 3"):
        model = zoo.create_model(f"local-dir:{out}")
    assert model.spec.tag == "photos-epoch1-step2"  # a signal is heeded after the step that it came in


def test_it_goes_on_and_is_then_the_weight_of_its_end(stopped: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "copy"
    shutil.copytree(stopped, out)
    finished = train(NAME, photos, changes=CHANGES, out=out, options=SIZE, resume=True, workers=0)
    assert zoo.create_model(f"local-dir:{out}").spec.tag == "photos"
    assert "not finished" not in finished.weight.recipe


def test_a_catalog_lists_no_such_weight(stopped: Path, photos: Path) -> None:
    with pytest.warns(UnfinishedRunWarning), pytest.raises(WeightError, match="a catalog lists finished runs"):
        record_run(stopped, "mine", "package:zoo/x.safetensors", photos, {})


def test_where_nothing_was_saved_the_message_says_how_to_go_on(stopped: Path, tmp_path: Path) -> None:
    shutil.copy(stopped / "run.json", tmp_path)
    for command in (("predict", "--model"), ("info",), ("eval", "--data", "cifar10"), ("publish", "--to-dir", "out")):
        result = run(*command, tmp_path)
        assert result.exit_code == 2
        assert f"{tmp_path} holds a run that has not finished and saved nothing yet" in result.stderr
        assert f"zoo train … --out {tmp_path} --resume" in result.stderr


# A finished run with more epochs ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(photos: Path) -> Path:
    """The folder of a run of two epochs."""
    changes = CHANGES | {"epochs": 2}
    return train(NAME, photos, changes=changes, out=photos.parent / "finished", options=SIZE, workers=0).folder


def _more(photos: Path, out: Path, epochs: int, *observers: Observer, **settings: Any) -> Any:
    changes = CHANGES | {"epochs": epochs} | settings
    return train(NAME, photos, changes=changes, out=out, options=SIZE, resume=True, observers=observers, workers=0)


def test_a_finished_run_goes_on_to_more_epochs(finished: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "more"
    shutil.copytree(finished, out)
    before = zoo.create_model(f"local-dir:{out}").state_dict()
    result = _more(photos, out, 4)
    assert [row.epoch for row in result.rows] == [1, 2, 3, 4]
    assert result.rows[1].lr == pytest.approx(0, abs=1e-9)
    steps = len(range(0, 32, 8))
    assert result.rows[3].step == 4 * steps
    # The cosine over four epochs, after three of them.
    assert result.rows[2].lr == pytest.approx(3e-3 * (1 + math.cos(3 * math.pi / 4)) / 2, rel=1e-4)
    (said,) = [note for note in result.notes if "had finished" in note]
    assert "finished after 2 epochs and goes on to 4: its cosine schedule is laid anew over all 4" in said
    assert "so that lr, 0 at the end of epoch 2, rises to 0.00" in said
    assert "went on after it had finished 2 epochs, its schedule laid anew" in result.weight.recipe
    assert result.weight.epochs == 4
    after = zoo.create_model(f"local-dir:{out}").state_dict()
    assert not all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.slow
def test_such_a_run_too_goes_on_exactly_where_it_was_interrupted(finished: Path, photos: Path, tmp_path: Path) -> None:
    for name in ("undisturbed", "interrupted"):
        shutil.copytree(finished, tmp_path / name)
    whole = _more(photos, tmp_path / "undisturbed", 4)
    with pytest.raises(Interrupt):
        _more(photos, tmp_path / "interrupted", 4, Interrupter(3))
    again = _more(photos, tmp_path / "interrupted", 4)
    assert again.weight.sha256 == whole.weight.sha256
    assert again.weight.recipe == whole.weight.recipe  # it still says that the run had finished once


def test_what_else_differs_is_another_run(finished: Path, stopped: Path, photos: Path) -> None:
    with pytest.raises(InputError, match=r"other settings: epochs \(2, now 1\).*\(--out\)$"):
        _more(photos, finished, 1)
    with pytest.raises(InputError, match=r"other settings: learning_rate \(0.003, now 0.1\)"):
        _more(photos, finished, 4, learning_rate=0.1)
    with pytest.raises(InputError, match="Only a finished run can be extended: finish it with --epochs 3"):
        _more(photos, stopped, 5)


def test_a_default_of_more_epochs_does_not_make_a_finished_run_go_on(finished: Path, photos: Path) -> None:
    changes = {key: value for key, value in CHANGES.items() if key != "epochs"}
    with pytest.raises(InputError, match="The run has finished; --epochs 14 extends it"):
        train(NAME, photos, changes=changes, out=finished, options=SIZE, resume=True, workers=0)


def test_the_size_of_the_images_has_a_reason(finished: Path, photos: Path) -> None:
    untrained, trained = open_model(NAME), open_model(f"local-dir:{finished}")
    cases = (
        (untrained, DataOptions(), "the smallest shorter side among the data's images"),
        (untrained, SIZE, "as asked for"),
        (trained, DataOptions(), f"that of {NAME}.photos, which the run starts from"),
    )
    for opened, options, reason in cases:
        splits = prepare_data(photos, options, opened)
        assert (splits.train.size, splits.size_reason) == ((16, 16), reason)
    large = folder(photos.parent / "large", {"night": 5, "noon": 5}, size=(230, 20))
    assert prepare_data(large, DataOptions(), untrained).size_reason == "since an image of the data has a side over 224"
