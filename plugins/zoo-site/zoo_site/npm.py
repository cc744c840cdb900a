"""Files of packages of the npm registry: pinned by version and hash, checked before use, kept for the next time."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import final
from urllib.parse import urlsplit

from zoo.errors import ZooError
from zoo.files import replace_bytes

REGISTRY = "https://registry.npmjs.org"
MAX_BYTES = 64 << 20
"""Bytes of one package at most."""
_PATIENCE = 20.0
"""Seconds that the registry has for an answer, and for each part of it."""
_LONGEST = 900.0
"""Seconds for a whole package."""
_PART = 1 << 18


class DownloadError(ZooError):
    """A file of the npm registry cannot be fetched, or is not the one whose hash is pinned."""


@final
@dataclass(frozen=True)
class NpmPackage:
    """One version of a package, pinned by its hash.

    Attributes:
        name: such as `onnxruntime-web`.
        version: such as `1.30.0`.
        integrity: `sha512-` and the hash in base64, as the registry states it.
    """

    name: str
    version: str
    integrity: str

    @property
    def file(self) -> str:
        """Its name in the registry and in the cache."""
        return f"{self.name.rpartition('/')[2]}-{self.version}.tgz"

    def url(self, registry: str) -> str:
        """Its address in a registry."""
        return f"{registry.rstrip('/')}/{self.name}/-/{self.file}"


def default_cache() -> Path:
    """Return the folder of packages: `has8-zoo/npm` in XDG_CACHE_HOME, or in `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "has8-zoo" / "npm"


def read_package(
    package: NpmPackage, members: Sequence[str], registry: str = REGISTRY, cache: Path | None = None
) -> dict[str, bytes]:
    """Read files of a package, from the cache, or else from the registry; its hash is checked in both.

    Args:
        package: the one to read.
        members: paths inside it, such as `dist/ort.wasm.bundle.min.mjs`.
        registry: an address of http, https or file.
        cache: the folder to keep it in; `default_cache()` by default.

    Returns:
        path → bytes.

    Raises:
        DownloadError: the registry cannot be reached, it sends something else than what is pinned, or the cache cannot
            be written. Nothing of it was used.
    """
    kept = (cache or default_cache()) / package.file
    data = _cached(package, kept)
    if data is None:
        data = _fetch(package, registry, kept)
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            replace_bytes(kept, data)
        except OSError as error:
            raise DownloadError(f"{kept} cannot be written: {error}; name another folder with --cache-dir") from error
    return {member: _member(data, member, package) for member in members}


def _integrity(data: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()


def _cached(package: NpmPackage, kept: Path) -> bytes | None:
    """Read the kept package; None if it is missing or altered."""
    try:
        data = kept.read_bytes() if kept.stat().st_size <= MAX_BYTES else b""
    except OSError:  # to be fetched, like a damaged one
        return None
    return data if _integrity(data) == package.integrity else None


def _fetch(package: NpmPackage, registry: str, kept: Path) -> bytes:
    url = package.url(registry)
    if urlsplit(url).scheme not in ("http", "https", "file"):
        raise DownloadError(f"{registry!r} is not the address of a registry; valid: http, https or file, as {REGISTRY}")
    by_hand = (
        "name another registry with --npm-registry, or fetch that file elsewhere and put it there as "
        f"{kept}; nothing was written"
    )
    try:
        data = _download(url)
    except (OSError, ValueError, HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DownloadError(
            f"{package.name} {package.version} cannot be fetched from {url} ({reason}); check the network, {by_hand}"
        ) from error
    if (found := _integrity(data)) != package.integrity:
        raise DownloadError(
            f"{url} is not {package.name} {package.version}: its hash is {found}, and pinned is {package.integrity}; "
            f"it was not used; {by_hand}"
        )
    return data


def _download(url: str) -> bytes:
    """Download, bounded in bytes and time."""
    until = time.monotonic() + _LONGEST
    data = bytearray()
    with urllib.request.urlopen(url, timeout=_PATIENCE) as answer:
        while part := answer.read(_PART):
            data += part
            if len(data) > MAX_BYTES:
                raise OSError(f"it sends more than {MAX_BYTES:,} bytes")
            if time.monotonic() > until:
                raise OSError(f"it takes more than {_LONGEST:,.0f} seconds")
    return bytes(data)


def _member(data: bytes, member: str, package: NpmPackage) -> bytes:
    """Read one file; the hash was checked, so the archive is the pinned one."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        try:
            file = archive.extractfile(f"package/{member}")
        except KeyError:
            file = None
        if file is None:
            raise DownloadError(f"{package.file} has no file {member}; choose a version of {package.name} that has")
        return file.read()
