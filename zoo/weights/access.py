"""Reading the Hugging Face Hub: at one commit, from the cache where it holds the file, else with a short fuse.

What the client lets through is checked here: it neither hashes what it downloads nor what it cached, answers with
an old `main` when the server is down, and tries for 23 seconds to reach one that is not there.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import huggingface_hub
from huggingface_hub import HfApi, constants, errors, get_session

from zoo.errors import HubError
from zoo.sources import HubRepository

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

LIBRARY = "has8-zoo"
PATIENCE = 3.0
"""Seconds in which the Hub must give a first answer; its client alone would try for 23, or wait for ever."""

_DISK_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_FAILURES = (httpx2.HTTPError, httpx2.InvalidURL, errors.EntryNotFoundError, json.JSONDecodeError, OSError)
_CACHED = "what is cached loads without one, by its commit: hf-hub:org/name@…"
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


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
        return (self.endpoint or constants.ENDPOINT).rstrip("/")

    @property
    def api(self) -> HfApi:
        """The client at this address."""
        return HfApi(self.address, token=self.token, library_name=LIBRARY, library_version=version(LIBRARY))

    def reach(self, what: str = "the Hugging Face Hub") -> None:
        """Raise `HubError` within a few seconds where nothing answers; `what` begins its message."""
        with translated(what, self.address):
            get_session().head(self.address, timeout=PATIENCE)

    def info(self, repository: HubRepository, *, sizes: bool = False) -> ModelInfo:
        """What the Hub says of a repository, at its commit or at `main`; raises `HubError`."""
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
        found = huggingface_hub.try_to_load_from_cache(
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


@contextmanager
def translated(what: str, address: str) -> Iterator[None]:
    """Turn the client's errors into one `HubError` that says what to do."""
    try:
        yield
    except _FAILURES as error:
        raise HubError(f"{what}: {_explain(error, address)}") from error
    except RuntimeError as error:  # the client's wrapping of an upload that failed
        if not isinstance(error.__cause__, _FAILURES):
            raise
        raise HubError(f"{what}: {_explain(error.__cause__, address)}") from error


def _explain(error: Exception, address: str) -> str:
    """Why it failed and what to do, in one line."""
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text.format(address=address)
    if isinstance(error, errors.HfHubHTTPError):
        return _explain_status(error.response.status_code, error, address)
    if isinstance(error, httpx2.HTTPError):
        return f"{address} cannot be reached ({type(error).__name__}); check the network; {_CACHED}"
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return f"no space left to write it ({error}); free some, or name another folder with cache_dir or HF_HOME"
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (errors.GatedRepoError, "gated; ask for access at its page on {address}, then " + _LOG_IN),
    (errors.RevisionNotFoundError, "{address} has no such revision of it; see its history there for the commits"),
    (
        errors.RepositoryNotFoundError,
        "{address} has no such repository, or it is private; check its name, or " + _LOG_IN,
    ),
    (
        errors.OfflineModeIsEnabled,
        "HF_HUB_OFFLINE forbids to ask {address}; unset it once while there is a network; " + _CACHED,
    ),
    (errors.LocalTokenNotFoundError, "no token; " + _LOG_IN),
    (errors.LocalEntryNotFoundError, "not in the cache, and {address} cannot be reached"),
    (
        json.JSONDecodeError,
        "{address} does not answer as a Hub does; check the address, and whether the network asks to log in",
    ),
    (httpx2.InvalidURL, "{address} is no address; the form is https://host"),
    (errors.EntryNotFoundError, "there is no such file in it; is it a model that `zoo publish` made?"),
)


def _explain_status(status: int, error: errors.HfHubHTTPError, address: str) -> str:
    said = (error.server_message or str(error)).strip().splitlines()[0]
    reasons = {
        401: f"{address} does not accept the token; {_LOG_IN}",
        403: f"the token may not do that ({said}); use one with write access",
        412: "somebody else has changed the repository meanwhile; nothing was written, run the command again",
        429: f"{address} asks to come back later ({said})",
    }
    return reasons.get(status, f"{address} answered {status} ({said}); try again later")
