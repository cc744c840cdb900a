"""Reading the Hugging Face Hub: at one commit, from the cache where it holds the file, else with a short fuse.

What the client lets through is checked here: it neither hashes what it downloads nor what it cached, answers with
an old `main` when the server is down, and tries for 23 seconds to reach one that is not there. The client is
imported on first use: it takes longer to import than a small model to build.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import HubError
from zoo.sources import HubRepository

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

LIBRARY = "has8-zoo"
PATIENCE = 3.0
"""Seconds in which the Hub must give a first answer; its client alone would try for 23, or wait for ever."""


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
        from huggingface_hub import get_session

        from zoo.weights.hub_errors import translated

        with translated(what, self.address):
            get_session().head(self.address, timeout=PATIENCE)

    def info(self, repository: HubRepository, *, sizes: bool = False) -> ModelInfo:
        """What the Hub says of a repository, at its commit or at `main`; raises `HubError`."""
        from zoo.weights.hub_errors import translated

        self.reach(str(repository))
        with translated(str(repository), self.address):
            return self.api.model_info(
                repository.repo_id, revision=repository.revision, timeout=10 * PATIENCE, files_metadata=sizes
            )

    def pin(self, repository: HubRepository) -> HubRepository:
        """The repository at the commit that `main` is now at; asks the Hub, never the cache.

        Raises:
            HubError: offline, out of reach, or no such repository.
        """
        if repository.revision is not None:
            return repository
        return HubRepository(repository.repo_id, self.info(repository).sha)

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
        path = None if fresh else self._cached(repository, filename)
        data = _read_blob(path, limit) if path else None
        if data is not None:
            return data
        self._check_size(repository, filename, limit, "" if path is None else "the cached copy is damaged, and ")
        return self._download(repository, filename, limit, (True,) if path or fresh else (False, True))

    def _cached(self, repository: HubRepository, filename: str) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(
            repository.repo_id, filename, cache_dir=self.cache_dir, revision=repository.revision
        )
        return Path(found) if isinstance(found, str) else None

    def _check_size(self, repository: HubRepository, filename: str, limit: int, why: str) -> None:
        try:
            info = self.info(repository, sizes=True)
        except HubError as error:
            raise HubError(f"{filename}: {why}{error}") from error
        size = next((file.size for file in info.siblings or () if file.rfilename == filename), None) or 0
        if size > limit:
            raise HubError(f"{filename} of {repository} has {size:,} bytes; valid: up to {limit:,}; not downloaded")

    def _download(self, repository: HubRepository, filename: str, limit: int, attempts: tuple[bool, ...]) -> bytes:
        """Try once for each of `attempts`, which says whether what the cache holds is replaced."""
        from zoo.weights.hub_errors import translated

        for forced in attempts:
            with translated(f"{filename} of {repository}", self.address):
                path = Path(
                    self.api.hf_hub_download(
                        repository.repo_id,
                        filename,
                        revision=repository.revision,
                        cache_dir=self.cache_dir,
                        force_download=forced,
                    )
                )
            data = _read_blob(path, limit)
            if data is not None:
                return data
        for file in (path.resolve(), path):  # the client would take them for good
            file.unlink(missing_ok=True)
        raise HubError(
            f"{filename} of {repository}: {self.address} sent other bytes than its own index says, also when "
            "downloaded again; try again later"
        )


def _read_blob(path: Path, limit: int) -> bytes | None:
    """A cached file; None where its bytes are not those that its name in the cache says.

    The cache names a small file's blob by git's hash of it, and a large one's by its sha256. Without links
    (Windows) the name says nothing.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= limit else None
    except OSError:  # to be replaced, like a damaged one
        return None
    return data if data is not None and _is_named(data, path.resolve().name) else None


def _is_named(data: bytes, name: str) -> bool:
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
    expected = {40: git.hexdigest(), 64: hashlib.sha256(data).hexdigest()}.get(len(name))
    return expected is None or not all(c in "0123456789abcdef" for c in name) or name == expected
