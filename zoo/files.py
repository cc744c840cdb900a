"""Atomic writes of files and folders: written beside under a random name, flushed, renamed."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

_PART = re.compile(r"\..+\.[0-9a-f]{16}\.part", re.DOTALL)
_KEPT = 40
"""Characters of a file's name in its part's, so that a long name still fits."""


def replace_file(
    path: Path, write: Callable[[IO[bytes]], object], check: Callable[[Path], object] = lambda part: None
) -> None:
    """Let `write` fill a new file beside `path`, then give it that name; killed at any moment, the old one is there.

    A link at `path` is replaced; what it points to is left alone. The mode of a file that is there is kept. The folder
    is flushed too, so that after a power cut the name does not point to nothing.

    Args:
        path: of the file.
        write: fills it.
        check: looks at the new file before it gets the name; what it raises leaves the old file as it was.

    Raises:
        OSError: the disk is full, or the file cannot be written. Whatever is raised, nothing is left beside it.
    """
    with ExitStack() as stack:
        part = _write_part(path, write, stack)
        check(part)
        os.replace(part, path)
    _flush_folder(path.parent)


def _write_part(path: Path, write: Callable[[IO[bytes]], object], stack: ExitStack) -> Path:
    """The whole content of `path` in a new file beside it, which goes with the stack."""
    part = path.with_name(f".{path.name[:_KEPT]}.{secrets.token_hex(8)}.part")
    mode = _mode(path)
    stack.callback(part.unlink, missing_ok=True)
    with part.open("xb") as file:  # never through a link, nor into a file that is there
        if mode is not None:
            part.chmod(mode)
        write(file)
        file.flush()
        os.fsync(file.fileno())
    return part


def replace_bytes(path: Path, content: bytes) -> None:
    """The same for bytes that are there."""
    replace_file(path, _writing(content))


def replace_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Several files of a folder, one after another in the order given, once all of them are written beside.

    Args:
        folder: made where there is none; other files in it stay.
        contents: path inside the folder → bytes.

    Raises:
        OSError: one cannot be written; then the folder holds what it held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        parts = []
        for name, content in contents.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            parts.append((_write_part(target, _writing(content), stack), target))
        for part, target in parts:
            os.replace(part, target)
    for parent in {target.parent for _, target in parts}:
        _flush_folder(parent)


def write_folder(path: Path, contents: Mapping[str, bytes]) -> None:
    """A new folder with these files; it is complete, or not there.

    Args:
        path: nothing, or an empty folder.
        contents: path inside the folder → bytes.

    Raises:
        OSError: it cannot be written, or holds something.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with folder_beside(path) as beside:
        replace_files(beside, contents)


@contextmanager
def folder_beside(path: Path, replace: bool = False) -> Iterator[Path]:
    """A new folder beside `path` that takes its place at the end; where something fails, nothing has changed.

    Args:
        path: nothing, or an empty folder.
        replace: whether a folder at `path` that holds something is removed then.

    Raises:
        OSError: it cannot be made, or holds something.
    """
    beside = path.with_name(f".{path.name[:_KEPT]}-{secrets.token_hex(8)}")
    beside.mkdir()  # with the user's umask
    try:
        yield beside
        if replace and path.exists():
            shutil.rmtree(path)
        beside.rename(path)  # takes the place of an empty folder, and of nothing else
    finally:
        shutil.rmtree(beside, ignore_errors=True)  # nothing is left there once it was renamed
    _flush_folder(path.parent)


def is_file(path: Path) -> bool:
    """`path.is_file()`, False for a name that the file system cannot have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """`path.is_dir()`, False for a name that the file system cannot have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def remove_parts(folder: Path) -> None:
    """Remove what writers that were killed left in a folder; for who alone writes there."""
    for file in folder.iterdir():
        if _PART.fullmatch(file.name) and not file.is_dir():
            file.unlink(missing_ok=True)


def _writing(content: bytes) -> Callable[[IO[bytes]], int]:
    return lambda file: file.write(content)


def _mode(path: Path) -> int | None:
    """Permissions of a regular file; None where there is none, or a link."""
    return path.stat().st_mode & 0o777 if path.is_file() and not path.is_symlink() else None


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems flush no folders
            raise
    finally:
        os.close(descriptor)
