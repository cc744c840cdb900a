"""An end to connections that are too slow, whatever they are busy with: headers, a body, a handshake."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from zoo.errors import HubError

GRACE = 20.0
"""Seconds in which nothing need arrive; what arrives earns more of them, never more than these at once."""
SLOWEST = 8 << 10
"""Bytes a second of the slowest line that is served: a modem's. A file has GRACE + size / SLOWEST seconds in all."""


class AnswerError(HubError):
    """An answer that an honest Hub does not give; what was asked for stands in the message that `translated` makes."""


class Watch:
    """A deadline for one request, or for a file's whole download; a thread closes the connection when it has passed.

    A client's timeouts are for a single read: a server that sends one byte now and then never meets them, and its
    headers are read where nobody could count. The blocked thread gets the client's usual error; `check` then says why.
    """

    def __init__(self, seconds: float) -> None:
        self._change = threading.Condition()
        self._deadline = time.monotonic() + seconds
        self._socket: socket.socket | None = None
        self._ended = False
        self._received = 0
        self.expired = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._wait, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def end(self) -> None:
        """Stop watching; the connection is left alone."""
        with self._change:
            self._ended = True
            self._follow(None)
            self._change.notify()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """The client's `trace` extension: a new connection is followed. TLS begins later, on the same socket."""
        if event.endswith("connect_tcp.complete"):
            stream: socket.socket = info["return_value"].get_extra_info("socket")
            with self._change:
                if not self._ended:
                    self._follow(stream.dup())

    def feed(self, count: int) -> None:
        """So many bytes have arrived."""
        with self._change:
            self._received += count
            self._deadline = min(self._deadline + count / SLOWEST, time.monotonic() + GRACE)

    def check(self, cause: BaseException | None = None) -> None:
        """Raise `AnswerError` where the time is over."""
        if self.expired:
            raise AnswerError(
                f"the answer is too slow ({self._received:,} bytes so far; at least {SLOWEST:,} a second must come, "
                f"after {GRACE:g} seconds at the latest); try again later, or on a faster line"
            ) from cause

    def _follow(self, connection: socket.socket | None) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = connection
        self._close_if_expired()

    def _close_if_expired(self) -> None:
        if self.expired and self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:  # the other side was faster
                return

    def _wait(self) -> None:
        with self._change:
            while not self._ended and not self.expired:
                left = self._deadline - time.monotonic()
                self.expired = left <= 0
                self._close_if_expired()
                if not self.expired:
                    self._change.wait(left)
