"""Read the Hugging Face Hub: one call for a repository's index, one streamed download for a file.

The client makes a path of the server's ETag and checks no hash, so its cache is not used: files are kept under their
sha256, or under a hash of the place that they came from, in the client's folder for assets. The client imports its own
modules on first use, since that takes longer than building a small model; so does this one.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, final

import huggingface_hub
from huggingface_hub import constants

from zoo.errors import HubError, WeightError, ZooError, printable
from zoo.files import replace_bytes
from zoo.names import REVISION, HubRepository

if TYPE_CHECKING:
    from huggingface_hub.hf_api import HfApi, ModelInfo, RepoSibling

LIBRARY = "has8-zoo"
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


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
        return (self.endpoint or constants.ENDPOINT).rstrip("/")

    @property
    def api(self) -> HfApi:
        """The client at this address."""
        return huggingface_hub.HfApi(
            self.address, token=self.token, library_name=LIBRARY, library_version=version(LIBRARY)
        )

    def index(self, repository: HubRepository) -> ModelInfo:
        """Ask for a repository at its commit, or at `main`: the commit, and size and hash of every file.

        Raises:
            HubError: out of reach, no such repository, or an answer that is not a Hub's.
        """
        with translated(str(repository), self.address):
            revision = repository.revision
            info = self.api.model_info(repository.repo_id, revision=revision, files_metadata=True, timeout=10.0)
            if not REVISION.fullmatch(info.sha or "") or revision not in (None, info.sha):
                raise ValueError(f"it answers with the commit {info.sha!r}")
            return info

    def pin(self, repository: HubRepository) -> HubRepository:
        """Give a repository the commit that its `main` is at now; with HF_HUB_OFFLINE, when it was last asked.

        Raises:
            HubError: out of reach, no such repository; offline, and never asked before.
        """
        if repository.revision is not None:
            return repository
        with translated(str(repository), self.address):
            kept = self._kept(f"{self.address} {repository.repo_id}@main")
            if constants.is_offline_mode() and kept.is_file():
                return HubRepository(repository.repo_id, kept.read_text("ascii"))
            commit = str(self.index(repository).sha)
            replace_bytes(kept, commit.encode())
        return HubRepository(repository.repo_id, commit)

    def fetch(self, repository: HubRepository, filename: str, limit: int, sha256: str | None = None) -> bytes:
        """Read a file at the repository's commit, from the cache or by one download.

        Args:
            repository: with a commit.
            filename: path in it.
            limit: bytes; a larger file is not downloaded.
            sha256: of the file, if a record states it; otherwise the Hub's index does, for files of LFS.

        Raises:
            HubError: the file cannot be had; nothing new is in the cache then.
            WeightError: the repository holds other bytes than `sha256`.
        """
        from huggingface_hub.file_download import hf_hub_url, http_get

        place = f"{repository}/{filename}"
        with translated(place, self.address):
            kept = self._kept(f"{self.address} {place}", sha256)
            if kept.is_file() and kept.stat().st_size <= limit:
                data = kept.read_bytes()
                if sha256 in (None, hashlib.sha256(data).hexdigest()):
                    return data
            entry = files_of(self.index(repository)).get(filename)
            if entry is None:
                raise HubError(f"{place}: no such file in it; is it a model that `zoo publish` made?")
            size = int((entry.lfs or entry).size or 0)
            if size > limit:
                raise HubError(f"{place} has {size:,} bytes; valid: up to {limit:,}; not downloaded")
            url = hf_hub_url(repository.repo_id, filename, revision=repository.revision, endpoint=self.address)
            received = _BoundedBuffer(size, place)
            headers = self.api._build_hf_headers()  # the client's own, with the token
            http_get(url, received, headers=headers, expected_size=size, displayed_filename=filename)
            data = received.getvalue()
            digest = hashlib.sha256(data).hexdigest()
            expected = sha256 or (entry.lfs.sha256 if entry.lfs else digest)
            if digest != expected:
                raise WeightError(f"{place} is not the published file: sha256 {digest}, expected {expected}")
            replace_bytes(kept, data)
        return data

    def _kept(self, place: str, sha256: str | None = None) -> Path:
        """The cached file of a sha256, or what a place held, under a name that no sha256 has."""
        cache = Path(self.cache_dir or constants.HF_ASSETS_CACHE).expanduser()
        folder = huggingface_hub.cached_assets_path(LIBRARY, "hub", "files", assets_dir=cache)
        return folder / (sha256 or f"place-{hashlib.sha256(place.encode()).hexdigest()}")


def files_of(index: ModelInfo) -> dict[str, RepoSibling]:
    """Path → what a repository's index says of the file."""
    return {each.rfilename: each for each in index.siblings or ()}


@final
class _BoundedBuffer(io.BytesIO):
    """Takes as many bytes as announced, and not one more."""

    def __init__(self, size: int, place: str) -> None:
        super().__init__()
        self._size, self._place = size, place

    def write(self, chunk: bytes) -> int:  # type: ignore[override]
        if self.tell() + len(chunk) > self._size:
            raise HubError(f"{self._place}: more bytes come than the {self._size:,} announced")
        return super().write(chunk)


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
        raise HubError(f"{what}: {_explain(error.__cause__ or error, address)}") from error


def _explain(error: BaseException, address: str) -> str:
    """Say in one line why it failed and what to do."""
    import httpx2
    from huggingface_hub import errors

    said = printable(" ".join(str(error).split()))[:400] or type(error).__name__
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        hints = {401: _LOG_IN, 403: _LOG_IN, 404: _LOG_IN, 412: "it has changed meanwhile; run it again"}
        return f"{address} answered {said}; {hints.get(status, 'try again later')}"
    if isinstance(error, httpx2.HTTPError | httpx2.InvalidURL):
        return f"{address} cannot be reached ({type(error).__name__}); check the address and the network"
    if isinstance(error, OSError):
        return said
    return f"{address} does not answer as a Hub does ({type(error).__name__}: {said}); check the address and HF_TOKEN"
