"""Where prints go while a plugin is imported: to stderr, so that JSON on stdout stays JSON."""

from __future__ import annotations

import sys
import threading


class PrintsToStderr:
    """sys.stdout is sys.stderr while any thread is inside; contextlib's own would mix up the threads' exits."""

    def __init__(self) -> None:
        self._lock, self._inside, self._stdout = threading.Lock(), 0, sys.stdout

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._stdout, sys.stdout = sys.stdout, sys.stderr
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                sys.stdout = self._stdout


PRINTS_TO_STDERR = PrintsToStderr()
"""One for the process, as sys.stdout is."""
