"""What the loopback Hub keeps: tokens, and repositories with their history, all in memory."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

# The Hub's own rules of a new repository, as far as they can concern a model zoo.
LFS_PATTERNS = ("*.bin", "*.ckpt", "*.gz", "*.h5", "*.npy", "*.npz", "*.pkl", "*.pt", "*.pth", "*.safetensors", "*.zip")
LFS_SIZE = 10 * 2**20
ATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS).encode()


class RefusedError(Exception):
    """An answer that is not a success: HTTP status, the Hub's words, its error code, more headers, more of the body."""

    def __init__(
        self, status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None, **body: Any
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
        self.body = {"error": message, **body}


def is_large(path: str, size: int) -> bool:
    """Whether the Hub stores a file by LFS; never an empty one."""
    name = PurePosixPath(path).name
    return size > 0 and (size > LFS_SIZE or any(fnmatchcase(name, pattern) for pattern in LFS_PATTERNS))


def blob_id(data: bytes) -> str:
    """git's name of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True)
class StoredFile:
    """The bytes of one file, and whether LFS holds them."""

    data: bytes
    lfs: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def pointer(self) -> bytes:
        """What git holds in its place."""
        spec = "version https://git-lfs.github.com/spec/v1"
        return f"{spec}\noid sha256:{self.sha256}\nsize {len(self.data)}\n".encode()

    @property
    def oid(self) -> str:
        return blob_id(self.pointer if self.lfs else self.data)

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    def entry(self, path: str) -> dict[str, Any]:
        """As tree and paths-info list it."""
        listed: dict[str, Any] = {"type": "file", "path": path, "oid": self.oid, "size": len(self.data)}
        if self.lfs:
            listed["lfs"] = {"oid": self.sha256, "size": len(self.data), "pointerSize": len(self.pointer)}
        return listed


@dataclass(frozen=True)
class Commit:
    """One commit, unchangeable: all files of the repository after it."""

    oid: str
    author: str
    title: str
    message: str
    files: Mapping[str, StoredFile]


@dataclass(frozen=True)
class Token:
    """A user's access token; `scopes` (entity → permissions) belong to the role 'fineGrained' alone."""

    user: str
    role: str
    orgs: tuple[str, ...] = ()
    scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def may(self, permission: str, namespace: str, name: str = "") -> bool:
        """Whether it grants 'repo.write' or 'repo.content.read' on namespace/name, or in the whole namespace."""
        if self.role == "fineGrained":
            entities = (namespace, f"{namespace}/{name}")
            return any(permission in self.scopes.get(entity, ()) for entity in entities)
        member = namespace == self.user or namespace in self.orgs
        return member and (self.role == "write" or permission == "repo.content.read")

    def whoami(self) -> dict[str, Any]:
        """The answer of /api/whoami-v2."""
        access: dict[str, Any] = {"displayName": f"{self.user}'s", "role": self.role}
        if self.role == "fineGrained":
            scoped = [
                {
                    "entity": {"type": "model" if "/" in entity else "user", "name": entity},
                    "permissions": list(permissions),
                }
                for entity, permissions in self.scopes.items()
            ]
            access["fineGrained"] = {"canReadGatedRepos": False, "global": [], "scoped": scoped}
        return {
            "type": "user",
            "name": self.user,
            "fullname": self.user,
            "orgs": [{"type": "org", "name": org} for org in self.orgs],
            "auth": {"type": "access_token", "accessToken": access},
        }


@dataclass
class Repository:
    """One repository of a model, or of a Space: a branch `main` and every commit that was ever made."""

    id: str
    private: bool = False
    allowed: set[str] | None = None  # users that a gated repository lets in
    history: list[Commit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.commit({".gitattributes": StoredFile(ATTRIBUTES, lfs=False)}, self.namespace, "initial commit")

    @property
    def namespace(self) -> str:
        return self.id.split("/")[-2]

    @property
    def head(self) -> Commit:
        return self.history[-1]

    def at(self, revision: str) -> Commit:
        """The commit that `main` or a whole commit id names."""
        if revision == "main":
            return self.head
        for commit in self.history:
            if commit.oid == revision:
                return commit
        raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def commit(self, files: Mapping[str, StoredFile], author: str, title: str, message: str = "") -> Commit:
        """Make `files` the whole content of a new head."""
        parent = self.history[-1].oid if self.history else ""
        listing = [f"{path} {file.oid}" for path, file in sorted(files.items())]
        text = "\n".join([self.id, str(len(self.history)), parent, title, *listing])
        made = Commit(hashlib.sha1(text.encode()).hexdigest(), author, title, message, dict(files))
        self.history.append(made)
        return made

    def listing(self, commit: Commit, folder: str, recursive: bool) -> Iterator[dict[str, Any]]:
        """The entries below a folder ('' for the root): files, and the folders that hold them."""
        prefix = f"{folder}/" if folder else ""
        inside = {path: file for path, file in sorted(commit.files.items()) if path.startswith(prefix)}
        if not inside and folder:
            raise RefusedError(404, f"{folder} does not exist on {commit.oid}", "EntryNotFound")
        seen = set()
        for path, file in inside.items():
            parents = [str(each) for each in reversed(PurePosixPath(path).parents) if str(each).startswith(prefix)]
            folders = [each for each in parents if each != "."]
            for each in folders if recursive else folders[:1]:
                if each not in seen:
                    seen.add(each)
                    yield {"type": "directory", "path": each, "oid": blob_id(each.encode()), "size": 0}
            if recursive or not folders:
                yield file.entry(path)

    def apply(self, lines: list[dict[str, Any]], objects: Mapping[str, bytes], author: str) -> Commit:
        """A commit request, whole or not at all.

        Args:
            lines: the header, then the operations.
            objects: what LFS holds, by sha256.
        """
        header = lines[0]["value"]
        parent = header.get("parentCommit")
        if parent and not self.head.oid.startswith(parent):
            raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(self.head.files)
        for line in lines[1:]:
            _change(files, line["key"], line["value"], objects)
        return self.commit(files, author, header["summary"], header.get("description", ""))


def _change(files: dict[str, StoredFile], key: str, value: dict[str, Any], objects: Mapping[str, bytes]) -> None:
    path = value["path"]
    if key == "file":
        files[path] = StoredFile(base64.b64decode(value["content"]), lfs=False)
    elif key == "lfsFile":
        if value["oid"] not in objects:
            raise RefusedError(400, f"LFS pointer pointed to a file that does not exist: {path}")
        files[path] = StoredFile(objects[value["oid"]], lfs=True)
    elif key == "deletedFile":
        if files.pop(path, None) is None:
            raise RefusedError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
    elif key == "deletedFolder":
        for each in [name for name in files if name.startswith(f"{path.rstrip('/')}/")]:
            del files[each]
    else:
        raise RefusedError(400, f"unknown operation {key}")
