"""Where output goes while a plugin is imported: to stderr, so that JSON on stdout stays JSON."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from typing import IO


class PrintsToStderr:
    """sys.stdout is sys.stderr, and file descriptor 1 is 2, while any thread is inside.

    The descriptor is what C code, `os.write` and child processes write to. It is left alone where a process has no
    stdout or no stderr. contextlib's own redirections would mix up the threads' exits.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._stdout = threading.Lock(), 0, sys.stdout
        self._kept: int | None = None  # a copy of descriptor 1

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._kept = _redirect() if _flush(sys.stdout) else None
                self._stdout, sys.stdout = sys.stdout, sys.stderr
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                sys.stdout = self._stdout
                if self._kept is not None:
                    _flush(sys.__stdout__)  # whoever kept the old one has written into its buffer
                    _flush_c()
                    os.dup2(self._kept, 1)
                    os.close(self._kept)
                    self._kept = None


def _redirect() -> int | None:
    """Make descriptor 1 what 2 is; a copy of what it was, or None where one of them is closed."""
    try:
        copy = os.dup(1)
    except OSError:
        return None
    try:
        os.dup2(2, 1)
    except OSError:
        os.close(copy)
        return None
    return copy


def _flush(stream: IO[str] | None) -> bool:
    """Send what was written before a change of descriptors to where it was meant to go; whether that went well."""
    try:
        if stream is not None:
            stream.flush()
    except (OSError, ValueError):  # of a full disk: it stays in the buffer, and is told when it is written at last
        return False
    return True


def _flush_c() -> None:
    """The buffers of C's own streams, which a library's printf fills."""
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)


PRINTS_TO_STDERR = PrintsToStderr()
"""One for the process, as sys.stdout is."""
