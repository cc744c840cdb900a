"""A Hub whose answers do not end, or hardly begin: refused soon, and not read to their end."""

from __future__ import annotations

import gzip
import resource
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.lying_hub import CONFIG, FILES, REVISION, WEIGHTS, Answer, LyingHub, fetch, git_hash, refused
from zoo.weights import hub_requests
from zoo.weights.hub_watch import Watch

pytestmark = pytest.mark.usefixtures("own_home")
IN_SOCKETS = 8 << 20
"""More than the sockets between the two hold."""

# Without end


def endless_file(answer: Answer, kind: str) -> bool:
    """No length; the right headers."""
    if kind == "file":
        answer.start({"X-Repo-Commit": REVISION, "ETag": git_hash(FILES[CONFIG])})
        answer.endless(FILES[CONFIG][:1000] * 64)
    return kind == "file"


def endless_json(answer: Answer, kind: str) -> bool:
    if kind == "index":
        answer.start({"Content-Type": "application/json"})
        answer.write(b'{"sha": "')
        answer.endless(b"5" * 65536)
    return kind == "index"


def announced_json(answer: Answer, kind: str) -> bool:
    if kind == "index":
        answer.start({"Content-Length": str(5_300_000_000)})
        answer.endless(b" " * 65536)
    return kind == "index"


def endless_error(answer: Answer, kind: str) -> bool:
    if kind in ("index", "file"):
        answer.start({}, 500)
        answer.endless(b"sorry " * 10_000)
    return kind in ("index", "file")


def endless_headers(answer: Answer, kind: str) -> bool:
    if kind == "index":
        answer.wfile.write(b"HTTP/1.1 200 OK\r\n")
        answer.endless(b"X-More: and more\r\n" * 1000)
    return kind == "index"


def endless_interim(answer: Answer, kind: str) -> bool:
    if kind == "index":
        answer.endless(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10, pause=0.01)
    return kind == "index"


def gzip_bomb(answer: Answer, kind: str) -> bool:
    if kind in ("index", "file"):
        body = gzip.compress(bytes(50_000_000))
        answer.start({"Content-Encoding": "gzip", "Content-Length": str(len(body)), "X-Repo-Commit": REVISION})
        answer.write(body)
    return kind in ("index", "file")


def endless_redirects(answer: Answer, kind: str) -> bool:
    if kind in ("index", "file"):
        answer.send(kind, b"", {"Location": answer.path + "0"}, 307)
    return kind in ("index", "file")


ENDLESS = [
    endless_file, endless_json, announced_json, endless_error, endless_headers, gzip_bomb, endless_redirects,
    pytest.param(endless_interim, marks=pytest.mark.slow),
]  # fmt: skip


@pytest.mark.parametrize("lie", ENDLESS)
def test_an_answer_without_end(hub: LyingHub, victim: Path, impatient: None, lie: Any) -> None:
    hub.lie = lie
    with refused():
        fetch(hub)
    assert hub.sent < hub_requests.MAX_ANSWER + IN_SOCKETS


def test_gigabytes_of_json_need_no_memory(hub: LyingHub, victim: Path) -> None:
    from tests.hub.hub_weights import address_space, in_process

    for lie in (endless_json, announced_json, endless_file):
        hub.lie = lie
        outcome = in_process(lambda: fetch(hub), {resource.RLIMIT_AS: address_space() + 2**27})
        assert outcome.error == "HubError"


# Too slow


def drip(answer: Answer) -> None:
    answer.endless(b" ", pause=0.05)


def slow_json(answer: Answer, kind: str) -> bool:
    if kind == "index":
        answer.start({})
        drip(answer)
    return kind == "index"


def slow_headers(answer: Answer, kind: str) -> bool:
    if kind == "index":
        answer.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        drip(answer)
    return kind == "index"


def slow_first_answer(answer: Answer, kind: str) -> bool:
    answer.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    drip(answer)
    return True


def slow_file(answer: Answer, kind: str) -> bool:
    """The first half comes at once, which must not buy hours for the second."""
    if kind == "file":
        answer.start({"X-Repo-Commit": REVISION, "ETag": git_hash(FILES[CONFIG]), "Content-Length": "8000"})
        answer.write(FILES[CONFIG][:4000])
        drip(answer)
    return kind == "file"


def slow_storage(answer: Answer, kind: str) -> bool:
    if kind == "storage":
        answer.start({"Content-Length": str(len(FILES[WEIGHTS]))})
        drip(answer)
    return kind == "storage"


def one_byte_a_connection(answer: Answer, kind: str) -> bool:
    """Each time a little is sent, so that something has been gained, and the connection ends."""
    if kind == "storage":
        begin = int(answer.headers.get("Range", "bytes=0-")[6:-1])
        part = {"Content-Range": f"bytes {begin}-{len(FILES[WEIGHTS]) - 1}/{len(FILES[WEIGHTS])}"} if begin else {}
        answer.start({"Content-Length": str(len(FILES[WEIGHTS]) - begin), **part}, 206 if begin else 200)
        answer.write(b"\0")
    return kind == "storage"


SLOW = [
    *(
        pytest.param(lie, marks=pytest.mark.slow)
        for lie in (slow_json, slow_headers, slow_storage, one_byte_a_connection)
    ),
    slow_first_answer,
    slow_file,
]


@pytest.mark.parametrize("lie", SLOW)
def test_a_byte_now_and_then(hub: LyingHub, victim: Path, impatient: None, lie: Any) -> None:
    hub.lie = lie
    with refused("is too slow"):
        fetch(hub, WEIGHTS if lie in (slow_storage, one_byte_a_connection) else CONFIG)


def test_a_watch_leaves_no_thread(hub: LyingHub) -> None:
    before = threading.active_count()
    for _ in range(5):
        with Watch(60):
            pass
    time.sleep(0.1)
    assert threading.active_count() <= before


@pytest.mark.parametrize("kind", ["index", "file", "storage"])
@pytest.mark.parametrize("status", [429, 503])
def test_asked_to_come_back_in_an_hour(hub: LyingHub, victim: Path, kind: str, status: int) -> None:
    def busy(answer: Answer, asked: str) -> bool:
        if asked == kind:
            answer.send(asked, b"{}", {"Retry-After": "3600"}, status)
        return asked == kind

    hub.lie = busy
    with refused("asks to come back in 3,600 seconds; the zoo waits up to 30"):
        fetch(hub, WEIGHTS)


def test_asked_to_come_back_soon(hub: LyingHub) -> None:
    waits = iter(["0", "1"])

    def busy(answer: Answer, kind: str) -> bool:
        wait = next(waits, None) if kind == "file" else None
        if wait is not None:
            answer.send(kind, b"{}", {"Retry-After": wait}, 429)
        return wait is not None

    hub.lie = busy
    assert fetch(hub) == FILES[CONFIG]


def test_asked_to_come_back_soon_for_ever(hub: LyingHub, victim: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_requests, "LONGEST_WAIT", 1.5)

    def busy(answer: Answer, kind: str) -> bool:
        if kind == "index":
            answer.send(kind, b"{}", {"Retry-After": "1"}, 429)
        return kind == "index"

    hub.lie = busy
    with refused("answers 429, again and again"):
        fetch(hub)
