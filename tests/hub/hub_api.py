"""The loopback Hub's answers to everything that is not a file: one function for each endpoint of the real one's API."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from tests.hub.hub_metadata import check_card
from tests.hub.hub_repositories import RefusedError, Repository, Token, blob_id, is_large

if TYPE_CHECKING:
    from tests.hub.loopback import LoopbackHub

DATE = "2026-01-01T00:00:00.000Z"
REPO = r"(?P<repo>[^/]+/[^/]+)"
SPACES = "spaces/"
REVISION = r"(?P<revision>[^/]+)"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Call:
    """A request: raw path, query, body, and whose token came with it."""

    hub: LoopbackHub
    method: str
    path: str
    query: dict[str, list[str]]
    body: bytes
    token: Token | None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def readable(self, repo: str) -> Repository:
        return readable(self.hub, self.kind + repo, self.token)

    @property
    def kind(self) -> str:
        """What the ids of Spaces begin with here: a model may have the same name."""
        return SPACES if self.path.startswith((f"/api/{SPACES}", f"/{SPACES}")) else ""

    def writable(self, repo: str) -> Repository:
        repository = self.readable(repo)
        if self.token is None:
            raise RefusedError(401, "Invalid username or password.")
        if not self.token.may("repo.write", *repo.split("/")):
            raise RefusedError(403, "Forbidden: you must use a write token to upload to a repository.")
        return repository

    @property
    def user(self) -> str:
        return self.token.user if self.token else ""


def readable(hub: LoopbackHub, repo: str, token: Token | None) -> Repository:
    """A repository that exists for whoever asks; a private one does not exist for others."""
    repository = hub.repositories.get(repo)
    owned = repo.removeprefix(SPACES).split("/")
    if repository and (not repository.private or (token and token.may("repo.content.read", *owned))):
        return repository
    if token is None:  # as the real one: it does not say whether it exists
        raise RefusedError(401, "Invalid username or password.", "RepoNotFound")
    raise RefusedError(404, "Repository not found", "RepoNotFound")


def check_gate(repository: Repository, token: Token | None) -> None:
    """Raise where a gated repository does not let its files out."""
    if repository.allowed is None:
        return
    words = f"Access to model {repository.id} is restricted"
    if token is None:
        raise RefusedError(
            401, f"{words}. You must have access to it and be authenticated to access it. Please log in.", "GatedRepo"
        )
    if token.user not in repository.allowed and token.user != repository.namespace:
        raise RefusedError(403, f"{words} and you are not in the authorized list.", "GatedRepo")


def _whoami(call: Call) -> Any:
    if call.token is None:
        raise RefusedError(401, "Invalid username or password.")
    return call.token.whoami()


def _create(call: Call) -> Any:
    if call.token is None:
        raise RefusedError(401, "Invalid username or password.")
    wanted = call.json
    namespace = wanted.get("organization") or call.user
    space = wanted.get("type") == "space"
    if space and wanted.get("sdk") not in ("static", "gradio", "docker"):
        raise RefusedError(400, "sdk is required for a Space")
    repo = f"{SPACES * space}{namespace}/{wanted['name']}"
    if not call.token.may("repo.write", namespace, wanted["name"]):
        raise RefusedError(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
    url = f"{call.hub.endpoint}/{repo}"
    if repo in call.hub.repositories:
        raise RefusedError(409, "You already created this model repo", url=url)
    call.hub.repositories[repo] = Repository(repo, wanted.get("visibility") == "private")
    return {"url": url, "name": repo, "id": blob_id(repo.encode())[:24]}


def _validate(call: Call) -> Any:
    errors, warnings = ([{"message": each} for each in some] for some in check_card(call.json["content"]))
    if errors:
        raise RefusedError(400, "Invalid metadata", errors=errors, warnings=warnings)
    return {"errors": errors, "warnings": warnings}


def _info(call: Call, repo: str, revision: str = "main") -> Any:
    repository = call.readable(repo)
    commit = repository.at(revision)
    siblings: list[dict[str, Any]] = []
    for path, file in sorted(commit.files.items()):
        sibling: dict[str, Any] = {"rfilename": path}
        if "blobs" in call.query:
            entry = file.entry(path)
            sibling |= {"size": entry["size"], "blobId": entry["oid"]}
            if file.lfs:
                sibling["lfs"] = {"sha256": file.sha256, "size": len(file.data), "pointerSize": len(file.pointer)}
        siblings.append(sibling)
    return {
        "_id": blob_id(repo.encode())[:24],
        "id": repo,
        "modelId": repo,
        "author": repository.namespace,
        "sha": commit.oid,
        "private": repository.private,
        "gated": "manual" if repository.allowed is not None else False,
        "disabled": False,
        "lastModified": DATE,
        "createdAt": DATE,
        "tags": [],
        "siblings": siblings,
    }


def _tree(call: Call, repo: str, revision: str, folder: str = "") -> Any:
    repository = call.readable(repo)
    recursive = call.query.get("recursive", ["false"])[0].lower() in ("true", "1")
    return list(repository.listing(repository.at(revision), folder.strip("/"), recursive))


def _paths(call: Call, repo: str, revision: str) -> Any:
    repository = call.readable(repo)
    files = repository.at(revision).files
    return [files[path].entry(path) for path in parse_qs(call.body.decode()).get("paths", []) if path in files]


def _commits(call: Call, repo: str, revision: str) -> Any:
    repository = call.readable(repo)
    history = repository.history[: repository.history.index(repository.at(revision)) + 1]
    return [
        {"id": each.oid, "authors": [{"user": each.author}], "date": DATE, "title": each.title, "message": each.message}
        for each in reversed(history)
    ]


def _may_read(call: Call, repo: str) -> Any:
    check_gate(call.readable(repo), call.token)
    return {}


def _may_write(call: Call, repo: str) -> Any:
    call.writable(repo)
    return {}


def _preupload(call: Call, repo: str, revision: str) -> Any:
    repository = call.writable(repo)
    present = repository.at(revision).files
    answers = []
    for wanted in call.json["files"]:
        path = wanted["path"]
        mode = "lfs" if is_large(path, wanted["size"]) else "regular"
        answer = {"path": path, "uploadMode": mode, "shouldIgnore": False}
        if path in present:
            answer["oid"] = present[path].etag
        answers.append(answer)
    return {"files": answers, "commitOid": repository.head.oid}


def _batch(call: Call, repo: str) -> Any:
    call.writable(repo)
    objects = []
    for wanted in call.json["objects"]:
        answer = {"oid": wanted["oid"], "size": wanted["size"], "authenticated": True}
        if wanted["oid"] not in call.hub.objects:
            answer["actions"] = {
                "upload": {"href": f"{call.hub.storage}/storage/{wanted['oid']}", "header": {}},
                "verify": {"href": f"{call.hub.endpoint}/{call.kind}{repo}.git/info/lfs/objects/verify", "header": {}},
            }
        objects.append(answer)
    return {"transfer": "basic", "objects": objects}


def _verify(call: Call, repo: str) -> Any:
    call.writable(repo)
    wanted = call.json
    if len(call.hub.objects.get(wanted["oid"], b"")) != wanted["size"]:
        raise RefusedError(404, "no such object, or of another size")
    return {}


def _commit(call: Call, repo: str, revision: str) -> Any:
    repository = call.writable(repo)
    if revision != "main":
        raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    if call.hub.take("move", repo) is not None:
        call.hub.put(call.kind + repo, {"elsewhere.txt": str(len(repository.history)).encode()})
    lines = [json.loads(line) for line in call.body.splitlines() if line.strip()]
    made = repository.apply(lines, call.hub.objects, call.user)
    url = f"{call.hub.endpoint}/{repo}/commit/{made.oid}"
    return {"success": True, "commitOid": made.oid, "commitUrl": url, "hookOutput": ""}


_API = f"/api/(?:models|spaces)/{REPO}"
_GIT = rf"/(?:spaces/)?{REPO}\.git"
ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("GET", "/api/whoami-v2", _whoami),
    ("POST", "/api/repos/create", _create),
    ("POST", "/api/validate-yaml", _validate),
    ("GET", _API, _info),
    ("GET", f"{_API}/revision/{REVISION}", _info),
    ("GET", f"{_API}/tree/{REVISION}(?P<folder>/.*)?", _tree),
    ("POST", f"{_API}/paths-info/{REVISION}", _paths),
    ("GET", f"{_API}/commits/{REVISION}", _commits),
    ("GET", f"{_API}/auth-check", _may_read),
    ("GET", f"{_API}/auth-check/write", _may_write),
    ("POST", f"{_API}/preupload/{REVISION}", _preupload),
    ("POST", f"{_API}/commit/{REVISION}", _commit),
    ("POST", rf"{_GIT}/info/lfs/objects/batch", _batch),
    ("POST", rf"{_GIT}/info/lfs/objects/verify", _verify),
)


def answer(call: Call) -> Any:
    """What the endpoint answers, as JSON; `RefusedError` for what is not a success."""
    for method, pattern, endpoint in ROUTES:
        match = re.fullmatch(pattern, call.path)
        if method == call.method and match:
            parts = {name: unquote(part) for name, part in match.groupdict().items() if part is not None}
            return endpoint(call, **parts)
    raise RefusedError(404, f"Sorry, we can't find the page you are looking for: {call.path}")
