"""What a run says of its progress where nobody looks at a live line."""

from __future__ import annotations

import pytest

from zoo.training.observers.base import EpochRow, RunFacts
from zoo.training.observers.display import Display

NAME = "has8_resnet_b8_m2_d4_ste_bpd"


def test_the_line_of_an_epoch_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    display = Display()
    display.started(RunFacts(NAME, 30, 390, 128, 0, 0), ())
    display.epoch_ended(EpochRow(10, 3900, 1.04567, 76.0321, 0.000699, 12.3456, 0.0351, 1204.5, 41.2), ())
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == "epoch 10/30  loss 1.046 top-1 76.0 % norm 12 spikes 0.035 lr 0.0007 1204/s"
