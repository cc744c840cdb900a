"""A server that answers as a Hub does, until it is told to lie about one thing."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from zoo.catalog.sources import HubRepository
from zoo.errors import HubError
from zoo.hub.read import Hub

REPO = "alice/tiny"
REVISION = "5ca1ab1e" * 5
PINNED = HubRepository(REPO, REVISION)
CONFIG, WEIGHTS = "config.json", "model.safetensors"
FILES = {CONFIG: b'{"a": 1}' * 1000, WEIGHTS: bytes(range(256)) * 1000}
LIMIT = 1 << 20
SECONDS = 8
FORMS: list[bytes] = [
    b"", b"null", b"true", b"5", b"[]", b'"text"', b"{}", b"[{}]", b"<html>", b"\xff\xfe", b'{"sha": ', b"NaN",
    b"[" * 100_000, b'{"a":' * 1000 + b"1" + b"}" * 1000, b"9" * 5000, b'{"sha": 1e999}', b'{"error": ["x"]}',
    b'{"siblings": 5, "files": 5, "objects": 5, "auth": 5, "warnings": 5, "name": 5}',
    b'{"siblings": [null], "files": [null], "objects": [null], "auth": [null], "warnings": [null], "errors": [null]}',
    b'{"name": "alice", "auth": {"accessToken": {"role": {}, "fineGrained": 7}}}',
    b'{"commitUrl": 5, "commitOid": "../../victim"}', b"\xef\xbb\xbf{}", b'{"\\ud800": "\\udfff"}',
]  # fmt: skip
"""JSON of other forms than a Hub's, and what is not JSON."""
Lie = Callable[["Answer", str], bool]
"""Whether it has answered itself; given the request, and what it asks for: reach, index, file or storage."""


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class LyingHub:
    """One repository at one commit; `*.safetensors` lie on another host, as LFS files do.

    Attributes:
        lie: asked before every honest answer; None for none.
        headers: what replaces the headers of honest answers, by what they answer; None removes one.
        index: what replaces keys of the index.
        sent: bytes of bodies that left.
        asked: what was asked for, with its headers.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.lie: Lie | None = None
        self.headers: dict[str, dict[str, str | None]] = {}
        self.index: dict[str, Any] = {}
        self.sent = 0
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.servers = [ThreadingHTTPServer(("127.0.0.1", 0), self._handler()) for _ in range(2)]
        self.endpoint, self.storage = (f"http://127.0.0.1:{server.server_port}" for server in self.servers)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Bound(Answer):
            def __init__(self, *args: Any) -> None:
                self.hub = hub
                super().__init__(*args)

        return Bound

    def about(self) -> dict[str, Any]:
        """The honest index, with what replaces its keys."""
        siblings = []
        for name, data in self.files.items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_hash(data)}
            if name.endswith(".safetensors"):
                entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            siblings.append(entry)
        return {"id": REPO, "sha": REVISION, "private": False, "siblings": siblings} | self.index


class Answer(BaseHTTPRequestHandler):
    """One request."""

    hub: LyingHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""

    def _answer(self) -> None:
        self.close_connection = True
        path = unquote(urlsplit(self.path).path)
        kinds = {"/api/": "index", "/storage/": "storage", f"/{REPO}/": "file"}
        kind = next((kind for start, kind in kinds.items() if path.startswith(start)), "reach")
        self.hub.asked.append((kind, dict(self.headers)))
        with suppress(OSError):  # the client is gone
            if self.hub.lie is None or not self.hub.lie(self, kind):
                self._honest(kind, path.rpartition("/")[2])

    do_GET = do_HEAD = do_POST = _answer

    def _honest(self, kind: str, name: str) -> None:
        data = self.hub.files.get(name, b"")
        if kind in ("reach", "index"):
            self.send(kind, json.dumps(self.hub.about()).encode())
        elif kind == "storage":
            self.send(kind, data, {"ETag": '"not-a-hash"'})
        elif name.endswith(".safetensors"):
            linked = {"X-Linked-ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Linked-Size": str(len(data))}
            place = f"{self.hub.storage}/storage/{name}"
            self.send(kind, b"", {"X-Repo-Commit": REVISION, "Location": place, **linked}, 302)
        else:
            self.send(kind, data, {"X-Repo-Commit": REVISION, "ETag": f'"{git_hash(data)}"'})

    def send(self, kind: str, body: bytes, headers: Mapping[str, str] | None = None, status: int = 200) -> None:
        """A whole answer, with the headers that lie."""
        self.start({"Content-Length": str(len(body))} | dict(headers or {}) | self.hub.headers.get(kind, {}), status)
        if self.command != "HEAD":
            self.wfile.write(body)
            self.hub.sent += len(body)

    def start(self, headers: Mapping[str, str | None], status: int = 200) -> None:
        """Status and headers alone; the body may follow by `write`."""
        self.send_response(status)
        for name, value in {"Connection": "close", **headers}.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def write(self, data: bytes) -> None:
        """A part of the body."""
        self.wfile.write(data)
        self.wfile.flush()
        self.hub.sent += len(data)

    def endless(self, part: bytes, pause: float = 0, most: int = 1 << 32) -> None:
        """The same part again and again, until the client goes, or 4 GB have left."""
        until = self.hub.sent + most
        while self.hub.sent < until:
            self.write(part)
            time.sleep(pause)


@contextmanager
def lying_hub(files: Mapping[str, bytes]) -> Iterator[LyingHub]:
    """A running server."""
    hub = LyingHub(files)
    for server in hub.servers:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield hub
    for server in hub.servers:
        server.shutdown()
        server.server_close()


@contextmanager
def refused(words: str = "", seconds: float = SECONDS) -> Iterator[None]:
    """What is inside raises `HubError` of one line, in time."""
    begun = time.monotonic()
    with pytest.raises(HubError, match=words) as caught:
        yield
    assert time.monotonic() - begun < seconds
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1500


def fetch(hub: LyingHub, name: str = CONFIG, **how: Any) -> bytes:
    return Hub(hub.endpoint).fetch(PINNED, name, LIMIT, **how)
