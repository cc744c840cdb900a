"""A Hugging Face Hub on 127.0.0.1 that the real huggingface_hub client talks to, with faults on demand.

As on the real one, LFS files lie on another host (here another port), which is sent no token and asks for none.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote, urlsplit

import yaml

LICENSES = frozenset("mit apache-2.0 bsd-3-clause cc-by-4.0 cc-by-nc-4.0 cc0-1.0 other".split())  # noqa: SIM905


class Request(NamedTuple):
    """A request that the server has seen; `user` is None for an anonymous one."""

    method: str
    path: str
    user: str | None


class RefusedError(Exception):
    """An answer that is not a success: status, the Hub's words, its error code, more of the body."""

    def __init__(self, status: int, message: str, code: str = "", **body: Any) -> None:
        super().__init__(message)
        self.status, self.body = status, {"error": message, **body}
        self.headers = {"X-Error-Message": message, "X-Error-Code": code}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(path: str) -> bool:
    return path.endswith((".safetensors", ".bin"))


class Commit(NamedTuple):
    """All files of a repository after one commit."""

    oid: str
    title: str
    files: Mapping[str, bytes]


class Repository:
    """A branch `main` and every commit ever made, oldest first; the first one holds .gitattributes alone.

    Attributes:
        refs: commits by the names of other branches, tags and pull requests.
    """

    def __init__(self, name: str, private: bool = False) -> None:
        self.name, self.private, self.owner = name, private, name.split("/")[-2]
        self.refs: dict[str, Commit] = {}
        self.history: list[Commit] = []
        self.commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}, "initial commit")

    def commit(self, files: Mapping[str, bytes], title: str) -> Commit:
        listing = repr((self.name, len(self.history), sorted((path, sha256(data)) for path, data in files.items())))
        self.history.append(Commit(hashlib.sha1(listing.encode()).hexdigest(), title, dict(files)))
        return self.history[-1]

    def at(self, revision: str) -> Commit:
        if revision in self.refs:
            return self.refs[revision]
        for commit in reversed(self.history):
            if revision in ("main", commit.oid):
                return commit
        for commit in self.refs.values():
            if revision == commit.oid:
                return commit
        raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


class Token(NamedTuple):
    """A user's access token, whose role is 'read' or 'write'."""

    user: str
    role: str

    def may_write(self, repo: str) -> bool:
        return self == (repo.split("/")[-2], "write")


class LoopbackHub:
    """The server and its content, running from the moment it is made until `stop`.

    Attributes:
        repositories: by id; those of Spaces begin with `spaces/`.
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
        self.faults: list[list[Any]] = []
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

    def add_token(self, user: str, role: str = "write") -> str:
        secret = f"hf_{user}_{role}_{len(self.tokens)}"
        self.tokens[secret] = Token(user, role)
        return secret

    def put(self, repo: str, files: Mapping[str, bytes], *, private: bool = False) -> str:
        """A commit on main that the server makes itself, in a new repository if need be; returns its id."""
        with self.lock:
            repository = self.repositories.setdefault(repo, Repository(repo, private))
            return repository.commit({**repository.at("main").files, **files}, "put").oid

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes]:
        return dict(self.repositories[repo].at(revision).files)

    def commits(self, repo: str) -> list[Commit]:
        return self.repositories[repo].history

    def add_fault(self, kind: str, value: Any = 0, match: str = "", times: int = 1) -> None:
        """Disturb the next requests whose URL, or 'namespace/name/path', holds `match`.

        Args:
            kind: 'fail' (a status), 'cut upload' and 'cut download' (after so many bytes; a download is continued),
                'reset download' (broken off, which the client takes for the end), 'corrupt' (wrong bytes), 'move'
                (another commit comes first), 'headers' (in place of a file's own), 'answer' (bytes in place of JSON).
            value: of that kind.
            match: part of what is disturbed.
            times: how often.
        """
        self.faults += [[kind, match, value]] * times

    def take(self, kind: str, text: str) -> Any:
        """The value of the first pending fault that matches, which is then used up; None without one."""
        with self.lock:
            for fault in self.faults:
                if fault[0] == kind and fault[1] in text:
                    self.faults.remove(fault)
                    return fault[2]
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
        url = urlsplit(self.path)
        self.path_asked, self.query = unquote(url.path), parse_qs(url.query)
        try:
            header = self.headers.get("Authorization")
            self.token = self.hub.tokens.get((header or "").removeprefix("Bearer "))
            user = self.token.user if self.token else None
            with self.hub.lock:
                self.hub.requests.append(Request(self.command, self.path_asked, user))
            self.body = self._body()
            if header and self.token is None:
                raise RefusedError(401, "Invalid credentials in Authorization header")
            if status := self.hub.take("fail", self.path):
                raise RefusedError(status, "injected fault")
            if self.path_asked.startswith("/storage/"):
                self._object(self.path_asked.removeprefix("/storage/"))
            elif "/resolve/" in self.path_asked:
                self._resolve()
            elif (answer := self.hub.take("answer", self.path)) is not None:
                self._send(200, answer)
            else:
                with self.hub.lock:
                    self._send(200, json.dumps(self._api()).encode())
        except RefusedError as error:
            self._send(error.status, json.dumps(error.body).encode(), **error.headers)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client is gone

    do_GET = do_HEAD = do_POST = do_PUT = _answer

    def _body(self) -> bytes:
        length = int(self.headers.get("Content-Length") or 0)
        cut = self.hub.take("cut upload", self.path) if self.command == "PUT" else None
        data = self.rfile.read(length if cut is None else min(cut, length))
        if len(data) < length:
            raise ConnectionResetError
        return data

    # The API

    def _api(self) -> Any:
        path = self.path_asked
        if path == "/api/repos/create":
            return self._create(json.loads(self.body))
        if path == "/api/validate-yaml":
            return self._validate(json.loads(self.body)["content"])
        git = re.fullmatch(r"/((?:spaces/)?[^/]+/[^/]+)\.git/info/lfs/objects/(batch|verify)", path)
        if git:
            self._repository(git[1], write=True)
            return self._batch() if git[2] == "batch" else {}
        found = re.fullmatch(
            r"/api/(models|spaces)/([^/]+/[^/]+)(?:/(revision|tree|preupload|commit|branch)/(.+))?", path
        )
        if found is None:
            raise RefusedError(404, f"no page {path}")
        kind, name, action, revision = found.groups()
        repository = self._repository("spaces/" * (kind == "spaces") + name, write=action in ("preupload", "commit"))
        return self._act(repository, name, action, revision)

    def _act(self, repository: Repository, name: str, action: str | None, revision: str) -> Any:
        if action == "branch":
            return repository.refs.setdefault(revision, repository.at("main")) and {}
        commit = repository.at(revision or "main")
        if action == "tree":
            return [_listed(path, data) for path, data in commit.files.items()]
        if action == "preupload":
            return {"files": [self._upload_mode(file["path"], commit) for file in json.loads(self.body)["files"]]}
        if action == "commit":
            return self._commit(repository, revision)
        siblings = [_listed(path, data) for path, data in sorted(commit.files.items())]
        about = {"id": name, "sha": commit.oid, "private": repository.private, "siblings": siblings, "tags": []}
        return about | (self.hub.take("index", name) or {})

    def _known(self) -> Token:
        if self.token is None:
            raise RefusedError(401, "Invalid username or password.")
        return self.token

    def _repository(self, name: str, write: bool = False) -> Repository:
        """A repository that exists for this user; a private one does not exist for others."""
        found = self.hub.repositories.get(name)
        if found is None or (found.private and not (self.token and self.token.user == found.owner)):
            raise RefusedError(404 if self.token else 401, "Repository not found", "RepoNotFound")
        if write and not self._known().may_write(name.removeprefix("spaces/")):
            raise RefusedError(403, "Forbidden: you must use a write token to upload to a repository.")
        return found

    def _create(self, wanted: dict[str, Any]) -> Any:
        space = wanted.get("type") == "space"
        name = f"{wanted.get('organization') or self._known().user}/{wanted['name']}"
        if not self._known().may_write(name):
            raise RefusedError(403, f"You don't have the rights to create a model under {name}")
        full, url = "spaces/" * space + name, f"{self.hub.endpoint}/{'spaces/' * space}{name}"
        self.hub.repositories.setdefault(full, Repository(full, wanted.get("visibility") == "private"))
        return {"url": url, "name": name}

    def _validate(self, card: str) -> Any:
        match = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
        data = yaml.safe_load(match[1]) if match else {}
        if data.get("license", "mit") not in LICENSES:
            message = f'"license" must be one of {sorted(LICENSES)}'
            raise RefusedError(400, "Invalid metadata", errors=[{"message": message}], warnings=[])
        return {"errors": [], "warnings": []}

    def _upload_mode(self, path: str, commit: Commit) -> dict[str, Any]:
        large = is_large(path)
        held = {"oid": (sha256 if large else git_hash)(commit.files[path])} if path in commit.files else {}
        return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, **held}

    def _batch(self) -> Any:
        objects = json.loads(self.body)["objects"]
        for wanted in objects:
            if wanted["oid"] not in self.hub.objects:
                wanted["actions"] = {"upload": {"href": f"{self.hub.storage}/storage/{wanted['oid']}", "header": {}}}
        return {"transfer": "basic", "objects": objects}

    def _commit(self, repository: Repository, branch: str) -> Any:
        if self.hub.take("move", repository.name) is not None:
            repository.commit({**repository.at("main").files, "elsewhere.txt": b"x"}, "put")
        header, *lines = [json.loads(line) for line in self.body.splitlines() if line.strip()]
        head = repository.at(branch)
        if header["value"].get("parentCommit") not in (None, head.oid):
            raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(head.files)
        for line in lines:
            path = line["value"]["path"]
            if line["key"] == "deletedFile":
                del files[path]
            elif line["key"] == "lfsFile":
                files[path] = self.hub.objects[line["value"]["oid"]]
            else:
                files[path] = base64.b64decode(line["value"]["content"])
        made = repository.commit(files, header["value"]["summary"])
        if self.query.get("create_pr"):
            repository.refs["refs/pr/1"] = repository.history.pop()
        elif branch != "main":
            repository.refs[branch] = repository.history.pop()
        if self.hub.take("lose commit", repository.name) is not None:  # made, but the answer never arrives
            raise ConnectionResetError
        url = f"{self.hub.endpoint}/{repository.name}/commit/{made.oid}"
        pull = f"{self.hub.endpoint}/{repository.name}/discussions/1"
        return {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": "", "pullRequestUrl": pull}

    # Files

    def _resolve(self) -> None:
        repo, _, rest = self.path_asked.strip("/").partition("/resolve/")
        revision, _, path = rest.partition("/")
        repository = self._repository(repo)
        commit = repository.at(revision)
        if path not in commit.files:
            raise RefusedError(404, "Entry not found", "EntryNotFound")
        data, name = commit.files[path], f"{repo}/{path}"
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{git_hash(data)}"'}
        if is_large(path):
            headers |= {"X-Linked-ETag": f'"{sha256(data)}"', "X-Linked-Size": str(len(data))}
            headers["Location"] = f"{self.hub.storage}/storage/{sha256(data)}?of={quote(name)}"
            self.hub.objects[sha256(data)] = data
            self._send(302, b"", **headers | (self.hub.take("headers", name) or {}))
        else:
            self._send_file(name, data, headers | (self.hub.take("headers", name) or {}))

    def _object(self, oid: str) -> None:
        """The other host: what LFS holds."""
        if self.command == "PUT":
            self.hub.objects[oid] = self.body
            self._send(200, b"")
        else:
            self._send_file(self.query["of"][0], self.hub.objects[oid], {})

    def _send_file(self, name: str, data: bytes, headers: dict[str, str]) -> None:
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if self.command == "GET":
            self.hub.downloads.append(name)
            if self.hub.take("corrupt", name) is not None:
                data = data.translate(bytes(range(255, -1, -1)))
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self._send(206 if start else 200, data[start:], name, **headers)

    def _send(self, status: int, body: bytes, name: str = "", **headers: str) -> None:
        self.send_response(status)
        sent = {"Content-Type": "application/json", "Connection": "close", "Content-Length": str(len(body)), **headers}
        for key, value in sent.items():
            self.send_header(key, value.replace("\n", " "))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut, broken = self.hub.take("cut download", name or "-"), self.hub.take("reset download", name or "-")
        self.wfile.write(body[: broken if cut is None else cut])
        if broken is not None:  # a close that throws away what is not sent yet
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


def _listed(path: str, data: bytes) -> dict[str, Any]:
    """A file as the index and the tree list it."""
    listed: dict[str, Any] = {"rfilename": path, "path": path, "type": "file", "size": len(data)}
    listed["blobId"] = listed["oid"] = git_hash(data)
    lfs = {"sha256": sha256(data), "oid": sha256(data), "size": len(data), "pointerSize": 130}
    return listed | ({"lfs": lfs} if is_large(path) else {})


@contextmanager
def black_hole() -> Iterator[str]:
    """The endpoint of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
