"""A Hugging Face Hub on 127.0.0.1 that the real huggingface_hub client talks to, with faults on demand.

As on the real one, LFS files lie on another host (here another port), which is sent no token and asks for none.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.hub import hub_api
from tests.hub.hub_repositories import Commit, RefusedError, Repository, StoredFile, Token, is_large


class Request(NamedTuple):
    """One request that the server has seen; `user` is None for an anonymous one."""

    method: str
    path: str
    user: str | None
    range: str | None


@dataclass
class _Fault:
    kind: str
    match: str
    times: int
    value: float


class LoopbackHub:
    """The server and its content, running from the moment it is made until `stop`.

    Attributes:
        repositories: by id.
        objects: what LFS has been sent, by sha256, committed or not.
        requests: all requests, in the order of arrival.
        downloads: 'namespace/name/path' of every file whose bytes were asked for.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.tokens: dict[str, Token] = {}
        self.requests: list[Request] = []
        self.downloads: list[str] = []
        self._faults: list[_Fault] = []
        handler = partial(_Handler, self)
        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), handler) for _ in range(2)]
        self.endpoint, self.storage = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """The server is down: connections are refused."""
        for server in self._servers:
            server.shutdown()
            server.server_close()

    # Content

    def add_token(
        self,
        user: str,
        role: str = "write",
        *,
        orgs: tuple[str, ...] = (),
        scopes: Mapping[str, tuple[str, ...]] | None = None,
    ) -> str:
        """A new token of a user: 'read', 'write', or 'fineGrained' with its permissions by namespace or repository."""
        secret = f"hf_{user}_{role}_{len(self.tokens)}"
        self.tokens[secret] = Token(user, role, orgs, scopes or {})
        return secret

    def put(self, repo: str, files: Mapping[str, bytes], *, private: bool = False) -> str:
        """A commit on main that the server makes itself, in a new repository if need be; returns its id."""
        with self.lock:
            repository = self.repositories.setdefault(repo, Repository(repo, private))
            added = {path: StoredFile(data, is_large(path, len(data))) for path, data in files.items()}
            self.objects |= {file.sha256: file.data for file in added.values() if file.lfs}
            return repository.commit({**repository.head.files, **added}, repository.namespace, "put").oid

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        """All files of a repository at a revision."""
        with self.lock:
            return {path: file.data for path, file in self.repositories[repo].at(revision).files.items()}

    def commits(self, repo: str) -> list[Commit]:
        """The history, oldest first; the first one holds .gitattributes alone."""
        with self.lock:
            return list(self.repositories[repo].history)

    # Faults; `match` is a part of the request's URL ('/storage/': what LFS holds) or of 'namespace/name/path'; '' any

    def gate(self, repo: str, *allowed: str) -> None:
        """Only these users and the owner may download from it."""
        self.repositories[repo].allowed = set(allowed)

    def cut_upload(self, after: int, times: int = 1) -> None:
        """The next uploads to LFS lose their connection after so many bytes."""
        self._faults.append(_Fault("cut upload", "", times, after))

    def cut_download(self, after: int, times: int = 1, match: str = "", *, reset: bool = False) -> None:
        """The next downloads end after so many bytes: closed, or with `reset` broken off, which the client takes worse.

        The client goes on by Range where a connection was closed, and gives up after six that brought nothing.
        """
        self._faults.append(_Fault("reset download" if reset else "cut download", match, times, after))

    def corrupt(self, match: str, times: int = 10**9) -> None:
        """Downloads are of the right size and wrong bytes."""
        self._faults.append(_Fault("corrupt", match, times, 0))

    def move_branch(self, times: int = 1) -> None:
        """Right before the next commit is looked at, someone else commits."""
        self._faults.append(_Fault("move", "", times, 0))

    def fail(self, status: int, times: int = 1, match: str = "") -> None:
        """The next requests are answered with a server error."""
        self._faults.append(_Fault("fail", match, times, status))

    def delay(self, seconds: float, times: int = 1, match: str = "") -> None:
        """The next requests are answered late."""
        self._faults.append(_Fault("delay", match, times, seconds))

    def take(self, kind: str, text: str) -> float | None:
        """The value of the first pending fault that matches, which is then used once; None without one."""
        with self.lock:
            for fault in self._faults:
                if fault.kind == kind and fault.match in text and fault.times > 0:
                    fault.times -= 1
                    return fault.value
        return None


class _Handler(BaseHTTPRequestHandler):
    """One request on either port."""

    protocol_version = "HTTP/1.1"

    def __init__(self, hub: LoopbackHub, *args: Any) -> None:
        self.hub = hub
        super().__init__(*args)

    def log_message(self, format: str, *args: object) -> None:
        """Tests print nothing."""

    def _answer(self) -> None:
        self.close_connection = True  # so that a stopped server has no connection left
        self.body_read = False
        path = unquote(urlsplit(self.path).path)
        try:
            token = self._token()
            user = token.user if token else None
            with self.hub.lock:
                self.hub.requests.append(Request(self.command, path, user, self.headers.get("Range")))
            self._disturb(unquote(self.path))
            if path.startswith("/storage/"):
                self._object(path.removeprefix("/storage/"))
            else:
                self._route(token)
        except RefusedError as error:
            if not self.body_read:
                self._body()
            self._send(error.status, json.dumps(error.body).encode(), **error.headers)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client is gone

    do_GET = do_HEAD = do_POST = do_PUT = _answer

    def _token(self) -> Token | None:
        header = self.headers.get("Authorization")
        if header is None:
            return None
        token = self.hub.tokens.get(header.removeprefix("Bearer "))
        if token is None:
            raise RefusedError(401, "Invalid credentials in Authorization header")
        return token

    def _disturb(self, url: str) -> None:
        seconds = self.hub.take("delay", url)
        if seconds is not None:
            time.sleep(seconds)
        status = self.hub.take("fail", url)
        if status is not None:
            raise RefusedError(int(status), "injected fault")

    def _route(self, token: Token | None) -> None:
        """Everything but the bytes of LFS files."""
        url = urlsplit(self.path)
        if "/resolve/" in url.path:
            self._resolve(token, url.path)
            return
        body = self._body() if self.command == "POST" else b""
        call = hub_api.Call(self.hub, self.command, url.path, parse_qs(url.query), body, token)
        with self.hub.lock:
            answer = hub_api.answer(call)
        self._send(200, json.dumps(answer).encode())

    def _resolve(self, token: Token | None, path: str) -> None:
        repo, _, rest = path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        with self.hub.lock:
            repository = hub_api.readable(self.hub, repo, token)
            hub_api.check_gate(repository, token)
            commit = repository.at(unquote(revision))
        file = commit.files.get(unquote(name))
        headers = {"X-Repo-Commit": commit.oid}
        if file is None:
            raise RefusedError(404, "Entry not found", "EntryNotFound", headers)
        headers["ETag"] = f'"{file.etag}"'
        if file.lfs:
            headers |= {"X-Linked-ETag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.data))}
            headers["Location"] = f"{self.hub.storage}/storage/{file.sha256}?of={quote(f'{repo}/{unquote(name)}')}"
            self._send(302, b"", **headers)
        else:
            self._send_file(f"{repo}/{unquote(name)}", file.data, headers)

    def _object(self, oid: str) -> None:
        """The other host: what LFS holds."""
        if self.command == "PUT":
            data = self._body(self.hub.take("cut upload", self.path))
            if hub_api.sha256(data) != oid:
                raise RefusedError(400, f"The bytes are not those of {oid}")
            with self.hub.lock:
                self.hub.objects[oid] = data
            self._send(200, b"")
            return
        stored = self.hub.objects.get(oid)
        if stored is None:
            raise RefusedError(404, "no such object")
        self._send_file(parse_qs(urlsplit(self.path).query)["of"][0], stored, {"ETag": f'"{oid}"'})

    def _body(self, cut: float | None = None) -> bytes:
        self.body_read = True
        if self.headers.get("Transfer-Encoding") == "chunked":
            raise RefusedError(411, "Length Required")
        length = int(self.headers.get("Content-Length") or 0)
        if cut is not None:
            self.rfile.read(min(int(cut), length))
            raise ConnectionResetError
        data = self.rfile.read(length)
        if len(data) < length:
            raise ConnectionResetError
        return data

    def _send_file(self, name: str, data: bytes, headers: dict[str, str]) -> None:
        first, last = self._range(len(data))
        if self.command == "GET":
            with self.hub.lock:
                self.hub.downloads.append(name)
            if self.hub.take("corrupt", name) is not None:
                data = data.translate(bytes(range(255, -1, -1)))
        headers |= {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        part = self.headers.get("Range") is not None
        if part:
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        self._send(206 if part else 200, data[first : last + 1], name, **headers)

    def _range(self, size: int) -> tuple[int, int]:
        """The first and the last byte that are asked for."""
        first, _, last = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")
        if not first:
            return max(size - int(last), 0), size - 1
        if int(first) >= size > 0:
            raise RefusedError(416, "Range Not Satisfiable", headers={"Content-Range": f"bytes */{size}"})
        return int(first), min(int(last or size - 1), size - 1)

    def _send(self, status: int, body: bytes, name: str = "", **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", "Connection": "close", **headers}.items():
            self.send_header(key, value.replace("\n", " "))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        ended = self.hub.take("cut download", name) if name else None
        broken = self.hub.take("reset download", name) if name else None
        cut = broken if ended is None else ended
        self.wfile.write(body if cut is None else body[: int(cut)])
        if broken is not None:  # a close that throws away what is not sent yet
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


@contextmanager
def black_hole() -> Iterator[str]:
    """The endpoint of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def refusing() -> str:
    """An endpoint at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"
