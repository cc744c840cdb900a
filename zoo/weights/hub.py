"""Read the Hugging Face Hub: one call for a repository's index, one streamed download for a file.

The cache is the client's own, so that a repository that any tool has fetched is found, and the other way round. The
client makes a path of the server's ETag and checks no hash, so it does not do the download: files are named here, by
the hash of the bytes that came, which is the name that the Hub gives them too. The client imports its own modules on
first use, since that takes longer than building a small model; so does this one.
"""

from __future__ import annotations

import hashlib
import io
import os.path
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
from zoo.registry.components import OURS

if TYPE_CHECKING:
    from huggingface_hub.hf_api import HfApi, ModelInfo, RepoSibling

_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


@final
@dataclass(frozen=True)
class Hub:
    """The Hub that the user chose, by arguments as of `create_model`; another endpoint has a cache of its own."""

    endpoint: str | None = None
    cache_dir: Path | str | None = None
    token: str | None = field(default=None, repr=False)
    local_files_only: bool = False
    force_download: bool = False

    @property
    def address(self) -> str:
        """The endpoint in use, without a trailing slash."""
        return (self.endpoint or constants.ENDPOINT).rstrip("/")

    @property
    def api(self) -> HfApi:
        """The client at this address."""
        return huggingface_hub.HfApi(self.address, token=self.token, library_name=OURS, library_version=version(OURS))

    def index(self, repository: HubRepository) -> ModelInfo:
        """Ask for a repository at its commit, branch or tag, or at `main`: the commit, and size and hash of every file.

        Raises:
            HubError: out of reach, no such repository, or an answer that is not a Hub's.
        """
        if self.local_files_only:
            raise HubError(f"{repository} is not in {self._cache}; leave local_files_only out to download it")
        with translated(str(repository), self.address):
            revision = repository.revision
            info = self.api.model_info(repository.repo_id, revision=revision, files_metadata=True, timeout=10.0)
            if not REVISION.fullmatch(info.sha or "") or (repository.is_pinned and revision != info.sha):
                raise ValueError(f"it answers with the commit {info.sha!r}")
            return info

    def pin(self, repository: HubRepository) -> HubRepository:
        """Give a repository the commit that its branch or tag, or `main`, is at now; offline, when it was last asked.

        Raises:
            HubError: out of reach, no such repository; offline, and never asked before.
        """
        if repository.is_pinned:
            return repository
        with translated(str(repository), self.address):
            kept = self._folder(repository) / "refs" / (repository.revision or "main")
            last = kept.read_text("utf-8").strip() if kept.is_file() else ""
            is_offline = self.local_files_only or constants.is_offline_mode()
            commit = last if is_offline and REVISION.fullmatch(last) else str(self.index(repository).sha)
            if commit != last:  # a cache that is up to date may be read-only
                replace_bytes(kept, commit.encode())
        return HubRepository(repository.repo_id, commit)

    def fetch(self, repository: HubRepository, filename: str, limit: int, sha256: str | None = None) -> bytes:
        """Read a file at the repository's commit, from the cache or by one download.

        Its hash is that of a record, or else the one in the Hub's index.

        Raises:
            HubError: the file cannot be had, or has more bytes than `limit`; nothing new is in the cache then.
            WeightError: the repository holds other bytes than `sha256`.
        """
        with translated(f"{repository}/{filename}", self.address):
            cached = None if self.force_download else self._read_cached(repository, filename, limit, sha256)
            return self._download(repository, filename, limit, sha256) if cached is None else cached

    def _download(self, repository: HubRepository, filename: str, limit: int, sha256: str | None) -> bytes:
        from huggingface_hub.file_download import hf_hub_url, http_get
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # documented, not in __all__

        place = f"{repository}/{filename}"
        entry = files_of(self.index(repository)).get(filename)
        if entry is None:
            raise HubError(f"{place}: no such file in it; is it a model that `zoo publish` made?")
        size = int((entry.lfs or entry).size or 0)
        if size > limit:
            raise HubError(f"{place} has {size:,} bytes; valid: up to {limit:,}; not downloaded")
        url = hf_hub_url(repository.repo_id, filename, revision=repository.revision, endpoint=self.address)
        headers = build_hf_headers(token=self.token, library_name=OURS, library_version=version(OURS))
        received = _BoundedBuffer(size, place)
        http_get(url, received, headers=headers, expected_size=size, displayed_filename=filename)
        data = received.getvalue()
        digest, own_name = hashlib.sha256(data).hexdigest(), _git_hash(data)
        if entry.lfs is not None:
            own_name = digest
        if sha256 not in (None, digest):
            raise WeightError(f"{place} is not the published file: sha256 {digest}, expected {sha256}")
        listed = entry.blob_id if entry.lfs is None else entry.lfs.sha256
        if listed not in (None, own_name):
            raise WeightError(f"{place} is not the published file: hash {own_name}, the Hub lists {listed}")
        self._keep(repository, filename, data, own_name)
        return data

    # The cache, laid out as the client does: blobs/HASH, and snapshots/COMMIT/FILENAME, which links to one.

    @property
    def _cache(self) -> Path:
        if self.cache_dir is not None:
            return Path(self.cache_dir).expanduser()
        if self.address == constants.ENDPOINT.rstrip("/"):
            return Path(constants.HF_HUB_CACHE)
        # Nothing proves that a config is of its commit: what another Hub says is not taken for the usual one's.
        return huggingface_hub.cached_assets_path(OURS, self.address, "hub", assets_dir=constants.HF_ASSETS_CACHE)

    def _folder(self, repository: HubRepository) -> Path:
        return self._cache / f"models--{repository.repo_id.replace('/', '--')}"

    def _read_cached(self, repository: HubRepository, filename: str, limit: int, sha256: str | None) -> bytes | None:
        """Return the cached file of a place, or of a hash that it must have, unless it is damaged."""
        blobs = self._folder(repository) / "blobs"
        snapshot = blobs.parent / "snapshots" / str(repository.revision) / filename
        listed = self._listed(repository, filename)
        own_name = sha256 or (listed.read_text("utf-8") if listed.is_file() else None)
        for file in (snapshot, blobs / (sha256 or filename)):
            if file.is_file() and file.stat().st_size <= limit:
                data = file.read_bytes()
                if _is_proven(file, data, blobs, own_name):
                    return data
        return None

    def _listed(self, repository: HubRepository, filename: str) -> Path:
        """Return the place, beside the client's own, of the hash by which the index listed a file of a commit."""
        return self._folder(repository) / "listed" / str(repository.revision) / f"{filename}.hash"

    def _keep(self, repository: HubRepository, filename: str, data: bytes, name: str) -> None:
        folder = self._folder(repository)
        blob, snapshot = folder / "blobs" / name, folder / "snapshots" / str(repository.revision) / filename
        replace_bytes(blob, data)
        replace_bytes(self._listed(repository, filename), name.encode())
        snapshot.parent.mkdir(parents=True, exist_ok=True)
        snapshot.unlink(missing_ok=True)
        try:
            snapshot.symlink_to(os.path.relpath(blob, snapshot.parent))
        except OSError:  # Windows allows links to some users only
            replace_bytes(snapshot, data)


def _is_proven(file: Path, data: bytes, blobs: Path, own_name: str | None) -> bool:
    """Return whether cached bytes have the hash that a record or the index states; of another tool's, that of its blob.

    Another tool's file without a link is not believed, since nothing tells its blob.
    """
    hashes = {hashlib.sha256(data).hexdigest(), _git_hash(data)}
    if own_name is not None:
        return own_name in hashes
    blob = file.resolve()
    return blob.parent == blobs.resolve() and blob.name in hashes


def _git_hash(data: bytes) -> str:
    """Return the name of a file in git, by which the Hub lists one that is not in LFS."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def files_of(index: ModelInfo) -> dict[str, RepoSibling]:
    """Path → what a repository's index says of the file."""
    return {file.rfilename: file for file in index.siblings or ()}


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

    reason = printable(" ".join(str(error).split()))[:400] or type(error).__name__
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"{address} has no such repository, or none that you may read; check its name, or {_LOG_IN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{address} has no such commit, branch or tag of the repository; name another one, or none"
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        hints = {401: _LOG_IN, 403: _LOG_IN, 404: _LOG_IN, 412: "it has changed meanwhile; run it again"}
        return f"{address} answered {reason}; {hints.get(status, 'try again later')}"
    if isinstance(error, httpx2.HTTPError | httpx2.InvalidURL):
        return f"{address} cannot be reached ({type(error).__name__}); check the address and the network"
    if isinstance(error, OSError):
        return reason
    return f"{address} does not answer as a Hub does ({type(error).__name__}: {reason}); check the address and HF_TOKEN"
