"""Atomic file and directory writes: to a random name beside the target, flushed, then renamed. A lock of a folder."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from operator import methodcaller
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

_PART = re.compile(r"\..+\.[0-9a-f]{16}\.part", re.DOTALL)
LOCK = ".lock"
_KEPT = 40  # characters of a file's name in its part's, so that a long name still fits


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a new file beside `path`, then rename it.

    If any of this fails or is killed, the old file stays. A link at `path` is replaced, not followed; the mode of an
    existing file is kept, and folders above it are made. Raises `OSError` if the file cannot be written.
    """
    with ExitStack() as stack:
        os.replace(_write_part(path, write, stack), path)


def _write_part(path: Path, write: Callable[[IO[bytes]], object], stack: ExitStack) -> Path:
    """The content of `path` in a new file beside it, which is removed with the stack."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name[:_KEPT]}.{secrets.token_hex(8)}.part")
    stack.callback(part.unlink, missing_ok=True)
    with part.open("xb") as file:  # never through a link, nor into an existing file
        if path.is_file() and not path.is_symlink():
            part.chmod(path.stat().st_mode & 0o777)
        write(file)
        file.flush()
        os.fsync(file.fileno())
    return part


def replace_bytes(path: Path, content: bytes) -> None:
    """Replace a file by these bytes, as `replace_file` does."""
    replace_files(path.parent, {path.name: content})


def replace_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Replace files of a folder, path inside it → bytes, in the order given, once all of them are written beside.

    The folder is made if needed, and other files in it stay. If one cannot be written, which raises `OSError`, the
    folder holds what it held.
    """
    with ExitStack() as stack:
        parts = []
        for name, content in contents.items():
            target = folder / name
            parts.append((_write_part(target, methodcaller("write", content), stack), target))
        for part, target in parts:
            os.replace(part, target)


def write_folder(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write a new folder, path inside it → bytes; raises `OSError` if it cannot be written, or holds something."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with folder_beside(path) as temporary:
        replace_files(temporary, contents)


@contextmanager
def folder_beside(path: Path, replace: bool = False) -> Iterator[Path]:
    """Make a folder beside `path` that takes its place at the end; if something fails, nothing has changed.

    `replace` removes a folder at `path` that holds something, which raises `OSError` otherwise.
    """
    temporary = path.with_name(f".{path.name[:_KEPT]}-{secrets.token_hex(8)}")
    temporary.mkdir()
    try:
        yield temporary
        if replace and path.exists():
            shutil.rmtree(path)
        temporary.rename(path)  # takes the place of an empty folder, and of nothing else
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_parts(folder: Path) -> None:
    """Remove what killed writers left in a folder; only for its sole writer."""
    for file in folder.iterdir():
        if _PART.fullmatch(file.name) and not file.is_dir():
            file.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[Callable[[], bool]]:
    """Hold a folder, which is made if needed, against other processes; the system frees it if this one is killed.

    Gives a function that returns whether the folder is still held: false once somebody has removed the lock's file.
    Raises `BlockingIOError` if another process holds it, and `OSError` if no file can be made in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / LOCK
    file.touch()
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(f"another process works in {folder}") from error
    own = file.stat()
    try:
        yield lambda: file.exists() and os.path.samestat(file.stat(), own)
    finally:
        lock.release()
