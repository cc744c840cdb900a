"""SIGINT and SIGTERM, asked about between two steps instead of striking inside one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self, final

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@final
class StopRequest:
    """Whether somebody asked for an end, and how.

    Attributes:
        signal: the one that came; None so far.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def ask(self, number: int) -> None:
        """Ask for an end, as that signal does."""
        self.signal = signal.Signals(number)

    @contextmanager
    def listening(self) -> Iterator[Self]:
        """Inside, the first signal asks, a second one strikes as ever. Outside the main thread none is caught."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        def handle(number: int, frame: FrameType | None) -> None:
            self.ask(number)
            restore()

        for number in SIGNALS:
            signal.signal(number, handle)
        try:
            yield self
        finally:
            restore()
