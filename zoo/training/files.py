"""The files of a run: whole or not there, and an error that says how to go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO

from zoo import files
from zoo.errors import TrainingError


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """`zoo.files.replace_file`, of a folder that is made where there is none.

    Raises:
        TrainingError: the disk is full, or the file cannot be written; nothing is left beside it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace_file(path, write)
    except (OSError, RuntimeError) as error:  # torch.save says only that it is not where it should be
        reason = str(error).partition("\n")[0]
        raise TrainingError(f"{path} cannot be written ({reason}); make room, then go on with --resume") from error


def replace_bytes(path: Path, content: bytes) -> None:
    """The same for bytes that are there."""
    replace_file(path, lambda file: file.write(content))
