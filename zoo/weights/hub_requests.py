"""Requests that read the Hub: every answer is checked before it is used, and bounded in bytes, time and redirects.

The client's own download takes its word from the server: the ETag becomes a path, the size is what the server says,
`Retry-After` is slept through. So these requests are sent by its session, with its headers, and read here. What
checks a response is what reads it, and nothing of the session that others share is changed. Xet is not used: its
library reads answers where nobody can look.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar, final

import httpx2
from huggingface_hub import get_session
from huggingface_hub.utils import are_progress_bars_disabled, hf_raise_for_status, tqdm  # type: ignore[attr-defined]

from zoo.catalog.sources import REVISION, HubRepository
from zoo.terminal import SHOWN_DOWNLOADS, Progress
from zoo.weights.hub_watch import GRACE, AnswerError, Watch

MAX_ANSWER = 4 << 20
"""Bytes of an answer that is not a file; an index of some 16,000 files fits."""
MAX_MESSAGE = 64 << 10
"""Bytes of an answer that is an error."""
LONGEST_WAIT = 30.0
"""Seconds that the Hub may ask to wait, in all, before it is asked again."""
MAX_REDIRECTS = 5
STALL = 10.0
"""Seconds in which a file's next byte must come, before the rest of it is asked for again."""
_ATTEMPTS = 6
"""Connections in a row that may end without having brought a byte of a file."""
_PAUSE = 1.0
_WORTH_A_BAR = 1 << 20
"""Bytes from which on a download takes long enough to be shown."""

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_INTERRUPTIONS = (httpx2.ConnectError, httpx2.TimeoutException, httpx2.RemoteProtocolError)
_Result = TypeVar("_Result")


class _BusyError(AnswerError):
    """The Hub asks to come back after `seconds`."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


@final
@dataclass(frozen=True)
class WantedFile:
    """A file as the repository's index announces it.

    Attributes:
        repository: at a commit.
        path: inside it.
        name: sha256 or git's hash of it, in hexadecimal digits.
        size: its bytes.
    """

    repository: HubRepository
    path: str
    name: str
    size: int


@final
class HubRequests:
    """Requests to one address, with the client's headers, which may hold a token."""

    def __init__(self, address: str, headers: dict[str, str]) -> None:
        self._address = address
        # A compressed answer could grow without end; a connection of its own can be closed when it is too slow.
        self._headers = headers | {"Accept-Encoding": "identity", "Connection": "close"}

    def reach(self, patience: float) -> None:
        """Raise the client's error, or `AnswerError`, where nothing answers within so many seconds."""
        with Watch(4 * patience) as watch, self._open("HEAD", self._address, patience, watch):
            pass

    def ask(self, path: str, patience: float) -> bytes:
        """The answer to GET at a path of the Hub's API; at most `MAX_ANSWER` bytes."""
        return _with_waits(lambda: self._ask(httpx2.URL(self._address + path), patience))

    def download(self, file: WantedFile) -> bytes:
        """The bytes that the Hub sends as a file: as many as announced. Whether they are the right ones is not known.

        An interrupted download goes on where it stopped.
        """
        url = httpx2.URL(f"{self._address}/{file.repository.repo_id}/resolve/{file.repository.revision}/{file.path}")
        data = bytearray()
        with Watch(GRACE) as watch, _progress(file) as progress:

            def received(count: int) -> None:
                watch.feed(count)
                progress(count)

            failures = 0
            while len(data) < file.size:
                start = len(data)
                try:
                    _with_waits(lambda: self._continue(url, file, data, watch, received))
                except _INTERRUPTIONS as error:
                    watch.check(error)
                    failures = 1 if len(data) > start else failures + 1
                    if failures >= _ATTEMPTS:
                        raise
                    time.sleep(_PAUSE)
        return bytes(data)

    def _ask(self, url: httpx2.URL, patience: float) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            with Watch(patience) as watch, self._open("GET", url, patience, watch) as response:
                if not response.has_redirect_location:
                    _check_status(response, watch, (200,))
                    return _read(response, MAX_ANSWER, watch)
                url, previous = _target(response), url
                if url.host != previous.host or (url.scheme == previous.scheme and url.port != previous.port):
                    raise AnswerError(
                        f"{_shown(previous)} sends to another host, {_shown(url)}, as a Hub's own address never does; "
                        "if that is the Hub, name it as the endpoint, or in HF_ENDPOINT"
                    )
        raise AnswerError(f"{self._address} redirects more than {MAX_REDIRECTS} times")

    def _continue(
        self, url: httpx2.URL, file: WantedFile, data: bytearray, watch: Watch, received: Callable[[int], None]
    ) -> None:
        """One walk from the Hub to the bytes, and as many of them as come."""
        checked = False
        for _ in range(MAX_REDIRECTS + 1):
            with self._open("GET", url, STALL, watch, _range(data)) as response:
                if response.status_code < 400:
                    checked = _check_headers(response, file) or checked
                if response.has_redirect_location:
                    url = _target(response)
                    continue
                _check_status(response, watch, (206, 200) if data else (200,))
                if not checked:
                    raise AnswerError(
                        f"{self._address} names neither the commit nor the hash of the file; a Hub names one"
                    )
                _check_part(response, file, data)
                for chunk in response.iter_raw():
                    data += chunk
                    received(len(chunk))
                    if len(data) > file.size:
                        raise AnswerError(f"more bytes come than the {file.size:,} announced")
                watch.check()  # an end that the watch made looks like the server's
                return
        raise AnswerError(f"{self._address} redirects more than {MAX_REDIRECTS} times")

    @contextmanager
    def _open(
        self, method: str, url: httpx2.URL | str, patience: float, watch: Watch, extra: dict[str, str] | None = None
    ) -> Iterator[httpx2.Response]:
        """One response, its headers read, its body not; redirects are the caller's. The token stays with its host."""
        headers = self._headers | (extra or {})
        if not _is_same_host(httpx2.URL(url), httpx2.URL(self._address)):
            headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        try:
            with get_session().stream(
                method,
                url,
                headers=headers,
                timeout=patience,
                follow_redirects=False,
                extensions={"trace": watch.trace},
            ) as response:
                check_encoding(response)
                yield response
        except httpx2.HTTPError as error:
            watch.check(error)
            raise


@contextmanager
def _progress(file: WantedFile) -> Iterator[Progress]:
    """A bar of a large file, on a terminal: in the line of the answer's own bar, else the client's, gone at the end.

    Whoever switched off the client's bars sees neither.
    """
    name = "huggingface_hub.http_get"
    shown = SHOWN_DOWNLOADS.get()
    if file.size < _WORTH_A_BAR or are_progress_bars_disabled(name):
        yield lambda count: None
    elif shown is not None:
        with shown(file.path, file.size) as advance:
            yield advance
    else:
        with tqdm(
            total=file.size, unit="B", unit_scale=True, desc=file.path, name=name, disable=None, leave=False
        ) as bar:
            yield lambda count: bar.update(count)


def check_encoding(response: httpx2.Response) -> None:
    """Raise `AnswerError` for a compressed answer, which was not asked for and may grow without end."""
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("", "identity"):
        raise AnswerError(
            f"{_shown(response.url)} answers in the encoding {encoding[:40]!r}, though only plain was asked for"
        )


def check_wait(response: httpx2.Response, waited: float = 0) -> float | None:
    """The seconds that an answer asks to wait; None where it asks nothing.

    Raises:
        AnswerError: together with those waited already it is more than `LONGEST_WAIT`.
    """
    text = response.headers.get("Retry-After", "").strip()
    if response.status_code < 400 or not (text.isascii() and text.isdigit()):
        return None
    seconds = float(text[:9])
    if waited + seconds > LONGEST_WAIT:
        raise AnswerError(
            f"{_shown(response.url)} answers {response.status_code} and asks to come back in {seconds:,.0f} seconds; "
            f"the zoo waits up to {LONGEST_WAIT:g}; try again later"
        )
    return seconds


def _with_waits(request: Callable[[], _Result]) -> _Result:
    """Repeat a request as long as the Hub asks for short waits."""
    until = time.monotonic() + LONGEST_WAIT
    while True:
        try:
            return request()
        except _BusyError as error:
            if time.monotonic() + error.seconds > until:
                raise
            time.sleep(max(error.seconds, _PAUSE))


def _range(data: bytearray) -> dict[str, str]:
    return {"Range": f"bytes={len(data)}-"} if data else {}


def _check_status(response: httpx2.Response, watch: Watch, expected: tuple[int, ...]) -> None:
    """Raise the client's error, with the server's words as far as they are words."""
    if response.status_code in expected:
        return
    seconds = check_wait(response)
    body = _read(response, MAX_MESSAGE, watch) if response.status_code >= 400 else b""
    plain = httpx2.Response(
        response.status_code, headers=_printable(response.headers), content=_message(body), request=response.request
    )
    if seconds is not None:
        raise _BusyError(f"{_shown(response.url)} answers {response.status_code}, again and again", seconds)
    hf_raise_for_status(plain)
    raise AnswerError(f"{_shown(response.url)} answers {response.status_code}, which is neither success nor an error")


def _printable(headers: httpx2.Headers) -> dict[str, str]:
    """What the client's errors are made of; control characters would reach the terminal."""
    details = {name: headers.get(name, "") for name in ("X-Error-Code", "X-Error-Message", "X-Request-Id")}
    return {
        name: "".join(character for character in value if " " <= character <= "~")[:300]
        for name, value in details.items()
        if value
    }


def _message(body: bytes) -> bytes:
    """The error's text as the client reads it; nothing where it is of another form."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return b"{}"
    text = content.get("error") if isinstance(content, dict) else None
    if not isinstance(text, str):
        return b"{}"
    return json.dumps({"error": "".join(character for character in text[:300] if character.isprintable())}).encode()


def _read(response: httpx2.Response, limit: int, watch: Watch) -> bytes:
    check_length(response, limit)
    data = bytearray()
    for chunk in response.iter_raw():
        data += chunk
        watch.feed(len(chunk))
        if len(data) > limit:
            raise AnswerError(f"{_shown(response.url)} answers more than {limit:,} bytes; the rest is not read")
    watch.check()
    return bytes(data)


def check_length(response: httpx2.Response, limit: int) -> None:
    """Raise `AnswerError` where more bytes are announced."""
    announced = response.headers.get("Content-Length", "0")
    if response.request.method != "HEAD" and (not announced.isdigit() or int(announced) > limit):
        raise AnswerError(f"{_shown(response.url)} answers {announced[:20]} bytes; valid: up to {limit:,}; not read")


def _check_headers(response: httpx2.Response, file: WantedFile) -> bool:
    """Whether a response is a Hub's, which says what it sends; then it must say what the index says.

    The host that stores large files says nothing of the kind; its ETag is its own.
    """
    commit, linked = response.headers.get("X-Repo-Commit"), response.headers.get("X-Linked-ETag")
    if commit is None and linked is None:
        return False
    if commit is None or not REVISION.fullmatch(commit) or commit != file.repository.revision:
        raise AnswerError(f"its commit is said to be {_cut(commit)}; valid: {file.repository.revision}")
    etag = linked if linked is not None or response.has_redirect_location else response.headers.get("ETag", "")
    if etag is not None:
        name = etag.removeprefix("W/").removeprefix('"').removesuffix('"')
        if not _HASH.fullmatch(name):
            raise AnswerError(f"its ETag is {_cut(etag)}; valid: 40 or 64 hexadecimal digits, lower case")
        if name != file.name:
            raise AnswerError(f"its ETag is {_cut(etag)}, but the index of the repository says {file.name}")
    size = response.headers.get("X-Linked-Size")
    if size is not None and size != str(file.size):
        raise AnswerError(f"it is said to have {_cut(size)} bytes, but the index of the repository says {file.size:,}")
    return etag is not None


def _check_part(response: httpx2.Response, file: WantedFile, data: bytearray) -> None:
    """What comes must continue what is here, and end where the file ends; without a part, it begins again."""
    if response.status_code == 200:
        data.clear()
    else:
        place = response.headers.get("Content-Range")
        expected = f"bytes {len(data)}-{file.size - 1}/{file.size}"
        if place != expected:
            raise AnswerError(f"another part of it comes than was asked for: {_cut(place)}; valid: {expected}")
    announced = response.headers.get("Content-Length")
    if announced is not None and announced != str(file.size - len(data)):
        raise AnswerError(
            f"{_cut(announced)} bytes of it are to come, but by the index of the repository "
            f"{file.size - len(data):,} are left"
        )


def _target(response: httpx2.Response) -> httpx2.URL:
    """Where a response sends to; never from https to what can be read on the way, never to what is not a server."""
    try:
        url = response.url.join(response.headers["Location"])
    except httpx2.InvalidURL as error:
        raise AnswerError(f"{_shown(response.url)} sends to what is not an address ({error})") from error
    if url.scheme not in ("http", "https") or (response.url.scheme == "https" and url.scheme != "https"):
        raise AnswerError(f"{_shown(response.url)} sends to {_shown(url)}; valid: an address in https")
    return url


def _is_same_host(url: httpx2.URL, other: httpx2.URL) -> bool:
    return _origin(url) == _origin(other)


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)


def _shown(url: httpx2.URL) -> str:
    """An address without what may be secret in it, short enough for a message."""
    return _cut(f"{url.scheme}://{url.netloc.decode('ascii', 'replace').rpartition('@')[2]}{url.path}").strip("'")


def _cut(text: str | None) -> str:
    return "missing" if text is None else repr(text) if len(text) <= 100 else f"{text[:100]!r}…"
