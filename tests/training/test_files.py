"""Files that are whole or not there."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import IO

import pytest

from zoo.errors import TrainingError
from zoo.training.files import replace_bytes, replace_file


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    replace_bytes(file, b"old")

    def full(opened: IO[bytes]) -> None:
        opened.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(TrainingError, match=r"checkpoint\.pt cannot be written \(.*No space.*make room.*--resume"):
        replace_file(file, full)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
