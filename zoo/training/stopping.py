"""Ends of a run between two of its steps: asked for by SIGINT or SIGTERM, or when its time is up."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, final

from zoo.errors import TrainingStoppedError


@final
class StopRequest:
    """A request to end a run, which the run looks at after every step.

    Args:
        minutes: from now, after which the run is to end; None for no limit.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self._end = math.inf if minutes is None else time.monotonic() + 60 * minutes
        self._signal: int | None = None

    @property
    def is_made(self) -> bool:
        """Whether a signal came or the time is up."""
        return self._signal is not None or time.monotonic() >= self._end

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the first signal as a request; a second one acts as ever, and so do those that are ignored outside."""
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        caught = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
        if threading.current_thread() is not threading.main_thread():
            caught = {}  # Python lets the main thread alone handle signals

        def restore() -> None:
            for number, handler in caught.items():
                signal.signal(number, handler)

        def note(number: int, frame: object) -> None:
            self._signal = number
            restore()

        for number in caught:
            signal.signal(number, note)
        try:
            yield
        finally:
            restore()

    def act(self, message: str) -> NoReturn:
        """End the run as its signal does without `listening`; else, and under torchrun, raise `TrainingStoppedError`.

        torchrun makes forty lines of a process that a signal ended.
        """
        if self._signal is not None and "TORCHELASTIC_RUN_ID" not in os.environ:
            signal.raise_signal(self._signal)
        raise TrainingStoppedError(message)
