"""Where the bytes of a weight lie, and the references that a user writes: `hf-hub:org/name@revision`, `local-dir:path`.

Only text here: nothing is read, no network is touched, no torch is loaded.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from zoo.errors import SourceError, shorten

REVISION = re.compile(r"[0-9a-f]{40}")
"""A commit of a repository. Branches and tags move, so a weight is never named by one."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
_PACKAGE = re.compile(r"([a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*)/([A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*\.safetensors)")


class Source(ABC):
    """A place that holds one weight; `str` gives the text that `parse_source` reads."""

    @abstractmethod
    def __str__(self) -> str: ...


@final
@dataclass(frozen=True)
class PackageFile(Source):
    """A file of an installed package: `package:zoo/pretrained/name.safetensors`."""

    module: str
    path: str

    def __str__(self) -> str:
        return f"package:{self.module}/{self.path}"


@final
@dataclass(frozen=True)
class HubRepository(Source):
    """A repository of the Hugging Face Hub at one commit; without one, at whatever `main` is now."""

    repo_id: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf-hub:{self.repo_id}" + (f"@{self.revision}" if self.revision else "")


@final
@dataclass(frozen=True)
class LocalFolder(Source):
    """A folder as `zoo publish --to-dir` and `zoo train` write it: config.json and model.safetensors."""

    path: Path

    def __str__(self) -> str:
        return f"local-dir:{self.path}"


@final
@dataclass(frozen=True)
class RunCheckpoint(Source):
    """The last checkpoint of a run of `zoo train` that has not finished.

    The run may go on meanwhile and replace the checkpoint, so the weights are kept as they were read.

    Attributes:
        path: the folder of the run.
        place: where the run was, in words: `after epoch 3 of 12`.
        data: its weights as the bytes of a model.safetensors.
    """

    path: Path
    place: str
    data: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"local-dir:{self.path}"

    @property
    def note(self) -> str:
        """What whoever uses these weights must know."""
        return f"{self.path} holds a run that has not finished; these are the weights of its checkpoint {self.place}"


@final
@dataclass(frozen=True)
class PlainFile(Source):
    """One safetensors file."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


def check_repository(repo_id: str) -> str:
    """`repo_id` where it has the form of one; raises `SourceError`."""
    if not _REPOSITORY.fullmatch(repo_id) or ".." in repo_id or "--" in repo_id or repo_id.endswith((".", "-", ".git")):
        raise SourceError(
            f"{shorten(repo_id)} is not a repository of the Hub; the form is org/name: letters, digits, '-', '_', '.', "
            "at most 96 each, without '--' or '..'"
        )
    return repo_id


def check_revision(revision: str) -> str:
    """`revision` where it is a commit; raises `SourceError`."""
    if not REVISION.fullmatch(revision):
        raise SourceError(
            f"revision {shorten(revision)} is not a commit: 40 hexadecimal digits, lower case. Branches and tags move; "
            "leave '@…' out once, and the pin of what is there now is said"
        )
    return revision


def _hub(place: str) -> HubRepository:
    repo_id, at, revision = place.partition("@")
    return HubRepository(check_repository(repo_id), check_revision(revision) if at else None)


def _folder(place: str) -> LocalFolder:
    if not place or "\0" in place:
        raise SourceError("local-dir: needs the path of a folder, as in local-dir:runs/b8")
    return LocalFolder(Path(place))


def _package(place: str) -> PackageFile:
    found = _PACKAGE.fullmatch(place)
    if not found or ".." in place:
        raise SourceError(f"{shorten(place)} is not a file of a package; the form is package:module/file.safetensors")
    return PackageFile(found[1], found[2])


_REFERENCES: dict[str, Callable[[str], HubRepository | LocalFolder]] = {"hf-hub": _hub, "local-dir": _folder}
_SOURCES: dict[str, Callable[[str], PackageFile | HubRepository]] = {"package": _package, "hf-hub": _hub}


def parse_reference(text: str) -> HubRepository | LocalFolder | None:
    """What `hf-hub:org/name@revision` or `local-dir:path` means; None for the name of a model.

    Raises:
        SourceError: (ValueError) it begins like a reference and is none.
    """
    scheme, colon, place = text.partition(":")
    read = _REFERENCES.get(scheme)
    return read(place) if colon and read else None


def parse_source(text: str) -> PackageFile | HubRepository:
    """The source that a catalog may name; raises `SourceError`: never a path of the file system, never a URL."""
    scheme, _, place = text.partition(":")
    read = _SOURCES.get(scheme)
    if read is None:
        raise SourceError(f"source {shorten(text)} is neither package:module/file.safetensors nor hf-hub:org/name")
    try:
        return read(place)
    except SourceError as error:
        raise SourceError(f"source {shorten(text)}: {error}") from None
