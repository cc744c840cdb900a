"""TensorBoard's events: what stands in their way is told as it is, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from zoo.errors import TrainingError
from zoo.training.observers.base import EpochRow, RunFacts
from zoo.training.observers.files import TensorBoard

FACTS = RunFacts("ann_resnet_b1_m1_d1", 2, 3, 4, 0, 0)


def test_a_file_in_place_of_the_folder_is_the_reason_that_is_given(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("mine", encoding="utf-8")
    board = TensorBoard(tmp_path)
    with pytest.raises(TrainingError, match=r"tensorboard, which must be a folder .*\(File exists\); move away"):
        board.started(FACTS, [])
    board.closed()  # hides nothing
    assert (tmp_path / "tensorboard").read_text(encoding="utf-8") == "mine"


def test_a_closed_board_that_never_started_writes_nothing(tmp_path: Path) -> None:
    TensorBoard(tmp_path).closed()
    assert list(tmp_path.iterdir()) == []


def test_a_row_is_written_without_what_was_not_measured(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    board.started(FACTS, [])
    row = EpochRow(1, 3, 0.5, 50.0, 0.1, 1.0, None, 10.0, 2.0, {"top1": 40.0})
    board.epoch_ended(row, [row])
    board.validated(row, [row])
    board.closed()
    [file] = (tmp_path / "tensorboard").iterdir()
    written = file.read_bytes()
    assert b"epoch/train_loss" in written
    assert b"epoch/val_top1" in written
    assert b"spike_rate" not in written
    assert b"epoch/step" not in written
