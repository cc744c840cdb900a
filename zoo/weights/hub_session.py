"""The client's own calls, each answer bounded: for publishing, which is not for us to write again.

The client has one session for the whole process. While a call of ours runs, two hooks of that session watch the
requests of this thread's context; those of other threads pass through untouched, and afterwards the hooks are gone.
A client factory would do the same for good, but setting one closes the connections of everybody else. The price: where
somebody closes the session in the middle of a call, the rest of that call is only as bounded as the client makes it.
What is uploaded by Xet, or in threads of the client's, passes these hooks by; `zoo.hub.publish` lets neither happen.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import final

import httpx2
from huggingface_hub import get_session

from zoo.errors import ZooError
from zoo.weights.hub_requests import MAX_ANSWER, check_encoding, check_length, check_wait
from zoo.weights.hub_watch import SLOWEST, AnswerError, Watch

ANSWER_SECONDS = 60.0
"""What one request may take, beside the time of what it sends."""
SESSION_SECONDS = 120.0
"""What one call of the client may take, with all its requests and repetitions."""

_MALFORMED = (AttributeError, KeyError, IndexError, TypeError, ValueError, RecursionError)
"""What the client raises where an answer is JSON of another form than it expects, or is not JSON."""
_ACTIVE: ContextVar[_Bounds | None] = ContextVar("_ACTIVE", default=None)
_HOOKS_LOCK = threading.Lock()


@contextmanager
def bounded_session(address: str, seconds: float = SESSION_SECONDS) -> Iterator[None]:
    """Bound every answer to the client's requests in this thread, and the time of all of them together.

    Raises:
        AnswerError: an answer is too long, too slow, compressed, asks to wait for too long, or is malformed.
    """
    client, bounds = get_session(), _Bounds(seconds)
    _change_hooks(client, lambda kind, hooks: [*hooks, bounds.hooks[kind]])
    token = _ACTIVE.set(bounds)
    try:
        yield
    except ZooError:
        raise
    except (httpx2.HTTPError, OSError) as error:
        bounds.check(error)
        raise
    except _MALFORMED as error:
        raise _malformed(address, error) from error
    except RuntimeError as error:  # the client's wrapping of an upload that failed
        bounds.check(error)
        cause = error.__cause__
        if isinstance(cause, _MALFORMED) and not isinstance(cause, (httpx2.HTTPError, ZooError)):
            raise _malformed(address, cause) from error
        raise
    finally:
        _ACTIVE.reset(token)
        _change_hooks(client, lambda kind, hooks: [hook for hook in hooks if hook is not bounds.hooks[kind]])
        bounds.end()


def _malformed(address: str, error: BaseException) -> AnswerError:
    text = " ".join(str(error).split())[:200]
    return AnswerError(
        f"{address} does not answer as a Hub does; check the address, and whether the network asks to log in "
        f"({type(error).__name__}: {text})"
    )


_Hook = Callable[..., None]


def _change_hooks(client: httpx2.Client, change: Callable[[str, list[_Hook]], list[_Hook]]) -> None:
    """New lists in place of the old ones, through which another thread may be walking."""
    with _HOOKS_LOCK:
        client.event_hooks = {kind: change(kind, hooks) for kind, hooks in client.event_hooks.items()}


@final
class _Bounds:
    """The limits of one call of the client, and what watches its requests."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._seconds = seconds
        self._watches: list[Watch] = []
        self.hooks: dict[str, _Hook] = {"request": self._before, "response": self._after}

    def _before(self, request: httpx2.Request) -> None:
        if _ACTIVE.get() is not self:
            return
        left = self._until - time.monotonic()
        if left <= 0:
            raise AnswerError(
                f"{request.url.host} has not finished its answer in {self._seconds:,.0f} seconds; try again later"
            )
        watch = Watch(min(left, ANSWER_SECONDS + int(request.headers.get("Content-Length", "0")) / SLOWEST))
        self._watches.append(watch)
        watch.__enter__()
        request.headers.update({"Accept-Encoding": "identity", "Connection": "close"})
        request.extensions = {
            **request.extensions,
            "trace": watch.trace,
            "timeout": httpx2.Timeout(min(left, ANSWER_SECONDS)).as_dict(),
        }

    def _after(self, response: httpx2.Response) -> None:
        if _ACTIVE.get() is not self:
            return
        check_wait(response)
        check_encoding(response)
        check_length(response, MAX_ANSWER)
        assert isinstance(response.stream, httpx2.SyncByteStream)  # the session is not an asynchronous one
        response.stream = _BoundedStream(response.stream, self._watches[-1])

    def check(self, cause: BaseException) -> None:
        """Raise `AnswerError` where a request was ended for being slow."""
        for watch in self._watches:
            watch.check(cause)

    def end(self) -> None:
        for watch in self._watches:
            watch.end()


@final
class _BoundedStream(httpx2.SyncByteStream):
    """The body of an answer, up to as many bytes as an answer may have."""

    def __init__(self, stream: httpx2.SyncByteStream, watch: Watch) -> None:
        self._stream = stream
        self._watch = watch

    def __iter__(self) -> Iterator[bytes]:
        received = 0
        for chunk in self._stream:
            received += len(chunk)
            self._watch.feed(len(chunk))
            if received > MAX_ANSWER:
                raise AnswerError(f"an answer has more than {MAX_ANSWER:,} bytes; the rest is not read")
            yield chunk
        self._watch.check()

    def close(self) -> None:
        self._stream.close()
        self._watch.end()
