"""Reading the Hugging Face Hub: one call for a repository's index, one streamed download for a file.

The client makes a path of the server's ETag and checks no hash, so its cache is not used: files are kept under their
own sha256, in the client's folder for assets. The client is imported on first use, since that takes longer than
building a small model.
"""

from __future__ import annotations

import errno
import hashlib
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, final

from zoo.errors import HubError, WeightError, ZooError
from zoo.files import replace_bytes
from zoo.names import REVISION, HubRepository

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo

LIBRARY = "has8-zoo"
TIMEOUT = 10.0
"""Seconds in which the Hub must answer a question; downloads have the client's own timeout."""

_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
_NOT_A_HUB = "{address} does not answer as a Hub does; check the address, and whether the network asks to log in"
_DISK_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


@final
@dataclass(frozen=True)
class IndexEntry:
    """A file in a repository's index.

    Attributes:
        size: bytes.
        sha256: if LFS holds the file.
        git: git's SHA-1 of the file, if LFS does not.
    """

    size: int
    sha256: str | None = None
    git: str | None = None

    def describes(self, data: bytes) -> bool:
        """Check size and hash of downloaded bytes."""
        if self.sha256 is not None:
            named = hashlib.sha256(data).hexdigest() == self.sha256
        else:
            header = b"blob %d\0" % len(data)
            named = hashlib.sha1(header + data, usedforsecurity=False).hexdigest() == self.git
        return named and len(data) == self.size


@final
@dataclass(frozen=True)
class RepositoryIndex:
    """A repository at one commit.

    Attributes:
        commit: 40 hexadecimal digits.
        private: not visible to everyone.
        files: path → size and hash.
    """

    commit: str
    private: bool
    files: Mapping[str, IndexEntry]


@final
@dataclass(frozen=True)
class Hub:
    """The Hub that the user chose.

    Attributes:
        endpoint: its address; None for HF_ENDPOINT, or huggingface.co.
        cache_dir: folder for downloads; None for the client's folder for assets (HF_HOME).
        token: for private repositories; None for the stored one.
    """

    endpoint: str | None = None
    cache_dir: Path | str | None = None
    token: str | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """The endpoint in use, without a trailing slash."""
        from huggingface_hub import constants

        return (self.endpoint or constants.ENDPOINT).rstrip("/")

    @property
    def api(self) -> HfApi:
        """The client at this address; raises `HubError` for a token that no header can hold."""
        from huggingface_hub import HfApi, get_token

        token = self.token or get_token()
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
            raise HubError("the token (HF_TOKEN or token=) holds a character that no token has; " + _LOG_IN)
        return HfApi(self.address, token=token, library_name=LIBRARY, library_version=version(LIBRARY))

    def index(self, repository: HubRepository) -> RepositoryIndex:
        """Ask for the index of a repository at its commit, or at `main`.

        Raises:
            HubError: out of reach, no such repository, or an answer that is not a Hub's.
        """
        with translated(str(repository), self.address):
            info = self.api.model_info(
                repository.repo_id, revision=repository.revision, files_metadata=True, timeout=TIMEOUT
            )
            index = _checked_index(info)
            if repository.revision not in (None, index.commit):
                raise ValueError(f"it answers with another commit, {index.commit}")
            return index

    def pin(self, repository: HubRepository, *, remember: bool = False) -> HubRepository:
        """Give a repository the commit that its `main` is at now.

        Args:
            repository: returned as it is if it has a commit.
            remember: keep the commit in the cache, and take the kept one with HF_HUB_OFFLINE.

        Raises:
            HubError: out of reach, no such repository; offline without a kept commit.
        """
        from huggingface_hub import constants

        if repository.revision is not None:
            return repository
        kept = self._recall(f"{repository.repo_id}@main") if remember else None
        if kept is not None and REVISION.fullmatch(kept) and constants.is_offline_mode():
            return HubRepository(repository.repo_id, kept)
        pinned = HubRepository(repository.repo_id, self.index(repository).commit)
        if remember and pinned.revision != kept:  # a read-only cache serves what it holds
            self._remember(f"{repository.repo_id}@main", str(pinned.revision))
        return pinned

    def fetch(self, repository: HubRepository, filename: str, limit: int, sha256: str | None = None) -> bytes:
        """Read a file at the repository's commit, from the cache or by one download.

        Args:
            repository: with a commit.
            filename: path in it.
            limit: bytes; a larger file is not downloaded.
            sha256: of the file, if a record states it; otherwise the Hub's index says which bytes are right.

        Raises:
            HubError: the file cannot be had; nothing new is in the cache then.
            WeightError: the repository holds other bytes than `sha256`.
        """
        place = f"{repository}/{filename}"
        known = sha256 or self._recall(place)
        if known is not None and (cached := self._read(known, limit)) is not None:
            return cached
        entry = self.index(repository).files.get(filename)
        if entry is None:
            raise HubError(f"{place}: no such file in it; is it a model that `zoo publish` made?")
        if entry.size > limit:
            raise HubError(f"{place} has {entry.size:,} bytes; valid: up to {limit:,}; not downloaded")
        if None not in (sha256, entry.sha256) and sha256 != entry.sha256:
            raise WeightError(f"{place} is not the published file: sha256 {entry.sha256}, expected {sha256}")
        data = self._download(repository, filename, entry)
        digest = hashlib.sha256(data).hexdigest()
        if sha256 not in (None, digest):
            raise WeightError(f"{place} is not the published file: sha256 {digest}, expected {sha256}; do not use it")
        with translated(place, self.address):
            replace_bytes(self._folder("files") / digest, data)
        if sha256 is None:
            self._remember(place, digest)
        return data

    def _download(self, repository: HubRepository, filename: str, entry: IndexEntry) -> bytes:
        """Stream a file, twice if the first time brings other bytes than the index says."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get

        place = f"{repository}/{filename}"
        with translated(place, self.address):
            url = hf_hub_url(repository.repo_id, filename, revision=repository.revision, endpoint=self.address)
            headers = self.api._build_hf_headers()  # the client's own, with the token
            for _ in range(2):
                received = _BoundedBuffer(entry.size)
                http_get(url, received, headers=headers, expected_size=entry.size, displayed_filename=filename)
                data = received.getvalue()
                if entry.describes(data):
                    return data
        raise HubError(f"{place}: {self.address} sent other bytes than its own index says, twice; try again later")

    def _folder(self, name: str) -> Path:
        from huggingface_hub import cached_assets_path, constants

        cache = Path(self.cache_dir or constants.HF_ASSETS_CACHE).expanduser()
        return cached_assets_path(LIBRARY, "hub", name, assets_dir=cache)

    def _read(self, sha256: str, limit: int) -> bytes | None:
        """A cached file; None if it is missing, too large or damaged."""
        try:
            file = self._folder("files") / sha256
            data = file.read_bytes() if file.stat().st_size <= limit else b""
        except OSError:
            return None
        return data if hashlib.sha256(data).hexdigest() == sha256 else None

    def _note(self, place: str) -> Path:
        """The file that says what a place of this Hub held; its name is a hash of ours."""
        return self._folder("places") / hashlib.sha256(f"{self.address} {place}".encode()).hexdigest()

    def _recall(self, place: str) -> str | None:
        try:
            text = self._note(place).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return text if len(text) in (40, 64) and set(text) <= set("0123456789abcdef") else None

    def _remember(self, place: str, text: str) -> None:
        with translated(place, self.address):
            replace_bytes(self._note(place), text.encode("ascii"))


@final
class _BoundedBuffer(io.BytesIO):
    """Takes as many bytes as announced, and not one more."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def write(self, chunk: bytes) -> int:  # type: ignore[override]
        if self.tell() + len(chunk) > self._size:
            raise HubError(f"more bytes come than the {self._size:,} announced")
        return super().write(chunk)


def _checked_index(info: ModelInfo) -> RepositoryIndex:
    """Raise ValueError for an index whose commit, sizes or hashes have another form."""
    if not isinstance(info.sha, str) or not REVISION.fullmatch(info.sha):
        raise ValueError("it names no commit")
    files = {}
    for sibling in info.siblings or ():
        sha256 = sibling.lfs.sha256 if sibling.lfs else None
        size = sibling.lfs.size if sibling.lfs else sibling.size
        if not isinstance(size, int) or size < 0 or not isinstance(sha256 or sibling.blob_id, str):
            raise ValueError(f"it says neither size nor hash of {str(sibling.rfilename)[:80]!r}")
        files[sibling.rfilename] = IndexEntry(size, sha256, sibling.blob_id)
    return RepositoryIndex(info.sha, bool(info.private), files)


@contextmanager
def translated(what: str, address: str) -> Iterator[None]:
    """Turn the client's errors into a `HubError` that says what to do."""
    import httpx2

    try:
        yield
    except ZooError:
        raise
    except (OSError, httpx2.HTTPError, httpx2.InvalidURL, ValueError, TypeError, KeyError, AttributeError) as error:
        raise HubError(f"{what}: {_explain(error, address)}") from error
    except RuntimeError as error:  # the client's wrapping of a failed upload
        if error.__cause__ is None:
            raise
        raise HubError(f"{what}: {_explain(error.__cause__, address)}") from error


def _explain(error: BaseException, address: str) -> str:
    """Say in one line why it failed and what to do."""
    import httpx2
    from huggingface_hub import errors

    advice: tuple[tuple[type[BaseException], str], ...] = (
        (errors.GatedRepoError, f"gated; ask for access at its page on {address}, then {_LOG_IN}"),
        (errors.RevisionNotFoundError, f"{address} has no such revision of it; see its history there for the commits"),
        (
            errors.RepositoryNotFoundError,
            f"{address} has no such repository, or it is private; check its name, or {_LOG_IN}",
        ),
        (errors.EntryNotFoundError, "no such file in it; is it a model that `zoo publish` made?"),
        (
            errors.OfflineModeIsEnabled,
            "not in the cache, and HF_HUB_OFFLINE is set; unset it once while there is a network",
        ),
        (errors.LocalTokenNotFoundError, "no token; " + _LOG_IN),
        (httpx2.InvalidURL, f"{address} is not an address; the form is https://host"),
        (httpx2.UnsupportedProtocol, f"{address} is not an address; the form is https://host"),
    )
    for kind, text in advice:
        if isinstance(error, kind):
            return text
    said = " ".join("".join(c if c.isprintable() else " " for c in str(error)[:400]).split())
    if isinstance(error, errors.HfHubHTTPError):
        return _explain_status(error.response.status_code, said, address)
    if isinstance(error, httpx2.HTTPError):
        return (
            f"{address} cannot be reached ({type(error).__name__}); check the network; weights that were downloaded "
            "before load without one by their commit: hf-hub:org/name@…"
        )
    if isinstance(error, OSError):
        if error.errno in _DISK_FULL:
            return f"no space left to write it ({said}); free some, or name another folder with cache_dir or HF_HOME"
        return said or type(error).__name__
    return f"{_NOT_A_HUB.format(address=address)} ({type(error).__name__}: {said})"


def _explain_status(status: int, said: str, address: str) -> str:
    reasons = {
        401: f"{address} does not accept the token; {_LOG_IN}",
        403: f"the token may not do that ({said}); use one with write access",
        412: "the repository has changed meanwhile; nothing was written, run the command again",
        429: f"{address} asks to come back later ({said})",
    }
    return reasons.get(status, f"{address} answered {status} ({said}); try again later")
