"""Reading the Hugging Face Hub: at one commit, from the cache where it holds the file, else with a short fuse.

What the client lets through is checked: it makes a path of the server's ETag, neither hashes what it downloads nor
what it cached, answers with an old `main` when the server is down, and tries for 23 seconds to reach one that is not
there. A file is kept only when its bytes are those of the repository's index, under a name that is their hash. The
client is imported on first use: it takes longer to import than a small model to build.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, final

from zoo.catalog.sources import HubRepository
from zoo.errors import HubError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from zoo.weights.hub_index import IndexEntry, RepositoryIndex
    from zoo.weights.hub_requests import HubRequests, WantedFile

LIBRARY = "has8-zoo"
PATIENCE = 3.0
"""Seconds in which the Hub must give a first answer; its client alone would try for 23, or wait for ever."""


@final
@dataclass(frozen=True)
class HubAccess:
    """How to reach the Hub.

    Attributes:
        endpoint: its address; None for HF_ENDPOINT, or huggingface.co.
        cache_dir: where downloads are kept; None for HF_HOME's.
        token: to read private repositories with; None for the one logged in with.
    """

    endpoint: str | None = None
    cache_dir: Path | str | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """The endpoint in use, without a slash at its end."""
        from huggingface_hub import constants

        return (self.endpoint or constants.ENDPOINT).rstrip("/")

    @property
    def api(self) -> HfApi:
        """The client at this address."""
        from huggingface_hub import HfApi

        return HfApi(self.address, token=self.token, library_name=LIBRARY, library_version=version(LIBRARY))

    def reach(self, what: str = "the Hugging Face Hub") -> None:
        """Raise `HubError` within a few seconds where nothing answers; `what` begins its message."""
        from zoo.weights.hub_errors import translated

        with translated(what, self.address):
            self._requests.reach(PATIENCE)

    def info(self, repository: HubRepository, *, sizes: bool = False) -> RepositoryIndex:
        """What the Hub says of a repository, at its commit or at `main`.

        Args:
            repository: with or without a commit.
            sizes: ask for sizes and hashes too.

        Raises:
            HubError: out of reach, no such repository, or an answer that is not a Hub's.
        """
        from zoo.weights.hub_errors import translated
        from zoo.weights.hub_index import read_index
        from zoo.weights.hub_watch import AnswerError

        self.reach(str(repository))
        revision = f"/revision/{repository.revision}" if repository.revision else ""
        with translated(str(repository), self.address):
            path = f"/api/models/{repository.repo_id}{revision}" + ("?blobs=true" if sizes else "")
            index = read_index(self._requests.ask(path, 10 * PATIENCE), self.address)
            if repository.revision not in (None, index.sha):
                raise AnswerError(f"{self.address} answers with another commit, {index.sha}")
            return index

    def pin(self, repository: HubRepository) -> HubRepository:
        """The repository at the commit that `main` is now at; asks the Hub, never the cache.

        Raises:
            HubError: offline, out of reach, or no such repository.
        """
        if repository.revision is not None:
            return repository
        return HubRepository(repository.repo_id, self.info(repository).sha)

    def pin_moving(self, repository: HubRepository) -> HubRepository:
        """As `pin`, and the commit is written down; with HF_HUB_OFFLINE it is the one that was written down before.

        Raises:
            HubError: out of reach, no such repository, a cache that cannot be written; offline, no commit was kept.
        """
        from huggingface_hub import constants

        from zoo.weights.hub_cache import keep_commit, kept_commit
        from zoo.weights.hub_errors import translated

        if repository.revision is not None:
            return repository
        kept = kept_commit(self.cache_dir, repository.repo_id)
        if kept is not None and constants.is_offline_mode():
            return HubRepository(repository.repo_id, kept)
        pinned = self.pin(repository)
        if pinned.revision != kept:  # so that a cache that may only be read serves what it holds
            with translated(str(pinned), self.address):
                keep_commit(self.cache_dir, pinned)
        return pinned

    def fetch(self, repository: HubRepository, filename: str, limit: int, *, fresh: bool = False) -> bytes:
        """A file at the repository's commit: from the cache, or with `fresh` downloaded again.

        Args:
            repository: at a commit.
            filename: inside it.
            limit: bytes that it may have; a larger one is not downloaded.
            fresh: do not look into the cache.

        Raises:
            HubError: it cannot be had; the cache holds nothing new.
        """
        from zoo.weights.hub_cache import find_cached, read_blob

        path = None if fresh else find_cached(self.cache_dir, repository, filename)
        data = read_blob(path, limit) if path else None
        if data is not None:
            return data
        why = "" if path is None else "the cached copy is damaged, and "
        try:
            index = self.info(repository, sizes=True)
        except HubError as error:
            raise HubError(f"{filename}: {why}{error}") from error
        return self._download(repository, filename, index.entry(filename), limit, 1 if path or fresh else 2, fresh)

    @property
    def _requests(self) -> HubRequests:
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        from zoo.weights.hub_requests import HubRequests

        headers = build_hf_headers(token=self.token, library_name=LIBRARY, library_version=version(LIBRARY))
        return HubRequests(self.address, headers)

    def _download(
        self,
        repository: HubRepository,
        filename: str,
        entry: IndexEntry | None,
        limit: int,
        attempts: int,
        fresh: bool,
    ) -> bytes:
        """Download at most `attempts` times, until the bytes are those of the index."""
        from zoo.weights.hub_cache import CachePlace, is_named
        from zoo.weights.hub_errors import translated

        file = _wanted(repository, filename, entry, limit)
        place = CachePlace(self.cache_dir, file)
        with translated(f"{filename} of {repository}", self.address):
            cached = None if fresh else place.reuse(limit)
            if cached is not None:
                return cached
            for _ in range(attempts):
                data = self._requests.download(file)
                if is_named(data, file.name):
                    place.store(data)
                    return data
        raise HubError(
            f"{filename} of {repository}: {self.address} sent other bytes than its own index says, also when "
            "downloaded again; try again later"
        )


def _wanted(repository: HubRepository, filename: str, entry: IndexEntry | None, limit: int) -> WantedFile:
    """What is to be downloaded; raises `HubError` where the index has no such file, or one that is too large."""
    from zoo.weights.hub_requests import WantedFile

    if entry is None:
        raise HubError(
            f"{filename} of {repository}: there is no such file in it; is it a model that `zoo publish` made?"
        )
    if entry.name is None or entry.length is None:
        raise HubError(f"{filename} of {repository}: the Hub's index says neither size nor hash of it; try again later")
    if entry.length > limit:
        raise HubError(f"{filename} of {repository} has {entry.length:,} bytes; valid: up to {limit:,}; not downloaded")
    return WantedFile(repository, filename, entry.name, entry.length)
