"""Files that are whole or not there: written beside, flushed to the disk, renamed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from zoo.errors import TrainingError


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a file beside `path`, then give it that name; killed at any moment, the old one is there.

    The directory is flushed too, so that after a power cut the name does not point to nothing.

    Raises:
        TrainingError: the disk is full, or the file cannot be written; nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    try:
        with beside.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except (OSError, RuntimeError) as error:  # torch.save says only that it is not where it should be
        reason = str(error).partition("\n")[0]
        raise TrainingError(f"{path} cannot be written ({reason}); make room, then go on with --resume") from error
    finally:
        beside.unlink(missing_ok=True)
    _flush_folder(path.parent)


def replace_bytes(path: Path, content: bytes) -> None:
    """The same for bytes that are there."""
    replace_file(path, lambda file: file.write(content))


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
