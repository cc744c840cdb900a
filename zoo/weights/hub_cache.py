"""The client's cache of files, which other programs use too: what is found there is hashed, what is put there whole.

Its layout is the client's: blobs/ holds the bytes under their hash, snapshots/ a link for each file of each commit.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import final

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.file_download import repo_folder_name

from zoo.catalog.sources import REVISION, HubRepository
from zoo.weights.hub_requests import WantedFile


def find_cached(folder: Path | str | None, repository: HubRepository, filename: str) -> Path | None:
    """A file at a commit; None where it is not in the cache `folder`, by default HF_HOME's."""
    path = try_to_load_from_cache(repository.repo_id, filename, cache_dir=folder, revision=repository.revision)
    return Path(path) if isinstance(path, str) else None


def kept_commit(folder: Path | str | None, repo_id: str) -> str | None:
    """The commit that a repository's `main` was last seen at; None where the cache does not say."""
    try:
        commit = _main_of(folder, repo_id).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return commit if REVISION.fullmatch(commit) else None


def keep_commit(folder: Path | str | None, repository: HubRepository) -> None:
    """Write down, where the client does too, that `main` is at this commit."""
    _replace(_main_of(folder, repository.repo_id), lambda path: _write(path, str(repository.revision).encode("ascii")))


def _main_of(folder: Path | str | None, repo_id: str) -> Path:
    return _root(folder) / repo_folder_name(repo_id=repo_id, repo_type="model") / "refs" / "main"


def _root(folder: Path | str | None) -> Path:
    return Path(folder or constants.HF_HUB_CACHE).expanduser()


def read_blob(path: Path, limit: int) -> bytes | None:
    """A cached file; None where its bytes are not those that its name in the cache says.

    The cache names a small file's blob by git's hash of it, and a large one's by its sha256. Without links
    (Windows) the name says nothing.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= limit else None
    except OSError:  # to be replaced, like a damaged one
        return None
    return data if data is not None and is_named(data, path.resolve().name) else None


def is_named(data: bytes, name: str) -> bool:
    """Whether `name` is the hash of these bytes, git's or sha256; anything goes by a name that is not a hash."""
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
    expected = {40: git.hexdigest(), 64: hashlib.sha256(data).hexdigest()}.get(len(name))
    return expected is None or not all(c in "0123456789abcdef" for c in name) or name == expected


@final
class CachePlace:
    """Where a file of the Hub's index belongs in a cache; its hash was checked, so that no name leads elsewhere."""

    def __init__(self, folder: Path | str | None, file: WantedFile) -> None:
        repository = _root(folder) / repo_folder_name(repo_id=file.repository.repo_id, repo_type="model")
        self._blob = repository / "blobs" / file.name
        self._pointer = repository / "snapshots" / str(file.repository.revision) / file.path

    def reuse(self, limit: int) -> bytes | None:
        """The bytes that another commit has left here, now this one's too; None where there are none, or wrong ones."""
        data = read_blob(self._blob, limit)
        if data is not None:
            self._link(data)
        return data

    def store(self, data: bytes) -> None:
        """Put verified bytes here; they are there whole, or not at all. What a link pointed at before is left alone."""
        _replace(self._blob, lambda path: _write(path, data))
        self._link(data)

    def _link(self, data: bytes) -> None:
        def fill(path: Path) -> None:
            try:
                path.symlink_to(os.path.relpath(self._blob, path.parent))
            except OSError:  # no links here; the client copies then, and so do we
                _write(path, data)

        _replace(self._pointer, fill)


def _replace(path: Path, fill: Callable[[Path], None]) -> None:
    """Make a file or link beside `path`, then move it there; of several processes, the last one's stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.incomplete")  # as the client names them
    try:
        fill(beside)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
