"""Output of a run: lines and trackers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.data.made_data import packed
from tests.training.made_runs import NAME, training
from zoo.data import ImageSplit
from zoo.errors import InputError
from zoo.training import Display, load_data, train
from zoo.training.engine import make_accelerator
from zoo.training.figures import EpochRow, StepFigures

TINY = "ann_resnet_b1_m1_d1"
CHANGES: dict[str, Any] = {"epochs": 1, "batch_size": 8, "precision": "no"}
ROW = EpochRow(10, 3900, 1.04567, 76.0321, 0.000699, 12.3456, 0.0351, 1204.5, 41.2, {"top1": 70.0, "loss": 1.2})


def test_the_line_of_an_epoch_fits_80_columns(
    data: ImageSplit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    display = Display()
    display.started(training(data, tmp_path), ["a note"])
    display.epoch_ended(ROW, ())
    *_, note, epoch, validation = capsys.readouterr().err.splitlines()
    assert "a note" in note
    assert len(epoch) <= 80
    for figure in ("1.046", "76.0 %", "3.5 %", "1204 images/s"):
        assert figure in epoch
    assert "70" in validation


def test_a_log_has_the_time_to_the_end(
    data: ImageSplit, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10**6, 61))  # 61 seconds pass between any two looks at it
    monkeypatch.setattr("zoo.training.observers.time.monotonic", lambda: float(next(clock)))
    display = Display()
    display.started(training(data, tmp_path), [])
    display.stepped(1, 1, StepFigures(0.5, 1.0, 4, 8, 1e-3, None))
    display.epoch_ended(ROW, ())
    step, epoch, _ = capsys.readouterr().err.splitlines()[-3:]
    assert re.search(r"epoch 1/3 .*step 1.* \d:\d\d:\d\d left", step)
    assert re.search(r" \d:\d\d:\d\d left", epoch)


def test_train_from_python_shows_progress_and_has_a_short_repr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_data(packed(tmp_path / "one.npz", 20))
    result = train(TINY, data, changes=CHANGES, out=tmp_path / "run")
    assert "epoch 1/1" in capsys.readouterr().err
    assert len(repr(result)) < 200
    assert "top1" in repr(result)
    train(TINY, data, changes=CHANGES, out=tmp_path / "silent", observers=[], trackers=[])
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "silent" / "tensorboard").exists()


@pytest.mark.parametrize(("cpu", "told"), [("AVX2", True), ("AVX512", False)])
def test_bfloat16_on_a_cpu_without_avx512_is_told(
    cpu: str, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: cpu)
    data = load_data(packed(tmp_path / "one.npz", 20))
    result = train(TINY, data, changes=CHANGES | {"precision": "bf16"}, out=tmp_path / "run", observers=[])
    assert any(cpu in note and "try float32" in note for note in result.notes) == told


@pytest.mark.parametrize(("name", "said"), [("nothing", "nothing.*tensorboard"), ("clearml", "pip install clearml")])
def test_trackers_are_those_of_accelerate(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        train(NAME, tmp_path / "photos", out=tmp_path / "run", trackers=[name])
    assert not (tmp_path / "run").exists()
    assert make_accelerator("no", trackers=["all"], out=tmp_path).log_with
