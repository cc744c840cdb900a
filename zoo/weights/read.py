"""The verified bytes of a weight: size and sha256 are checked before anything looks inside."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file
from torch import Tensor

from zoo.catalog.schema import StoredWeight
from zoo.catalog.sources import HubRepository, LocalFolder, PackageFile, RunCheckpoint, Source
from zoo.errors import WeightError
from zoo.registry.registry import package_file
from zoo.weights.config_json import MODEL
from zoo.weights.hub_client import HubAccess


def read_weight(weight: StoredWeight, source: Source, access: HubAccess | None = None) -> bytes:
    """The bytes of a weight, exactly those that were published.

    What a cache holds is hashed like what comes fresh; where it is wrong, it is downloaded again once.

    Raises:
        WeightError: missing, or not the published bytes.
        HubError: the Hub cannot be reached, or refuses.
    """
    if isinstance(source, HubRepository):
        access = access or HubAccess()
        data = access.fetch(source, MODEL, weight.size)
        if not _is_published(data, weight):
            data = access.fetch(source, MODEL, weight.size, fresh=True)
        advice = f"downloaded twice from {access.address}; do not use it, and tell whoever published it"
    elif isinstance(source, PackageFile):
        data = _read_package_file(weight.name, source)
        advice = "reinstall the distribution that holds it"
    elif isinstance(source, LocalFolder):
        data = _read_folder(source.path / MODEL, weight)
        advice = f"config.json beside it names another file; publish or copy {source.path} again"
    elif isinstance(source, RunCheckpoint):
        data = source.data
        advice = "name the folder again"
    else:
        raise TypeError(f"no published weight lies in {source!r}")
    check_published(data, weight, str(source), advice)
    return data


def check_published(data: bytes, weight: StoredWeight, place: str, advice: str) -> None:
    """Raise `WeightError` where bytes from `place` are not those of the record."""
    if not _is_published(data, weight):
        raise WeightError(
            f"{weight.name}: {place} is not the published file: {len(data)} bytes, "
            f"sha256 {hashlib.sha256(data).hexdigest()[:12]}…, expected {weight.size} bytes, "
            f"sha256 {weight.sha256[:12]}…; {advice}"
        )


def _is_published(data: bytes, weight: StoredWeight) -> bool:
    return len(data) == weight.size and hashlib.sha256(data).hexdigest() == weight.sha256


def _read_package_file(name: str, source: PackageFile) -> bytes:
    try:
        return package_file(source.module, source.path).read_bytes()
    except (ModuleNotFoundError, OSError) as error:
        raise WeightError(
            f"{name}: {source.path} is not in package {source.module!r}; reinstall it ({error})"
        ) from error


def _read_folder(file: Path, weight: StoredWeight) -> bytes:
    """At most one byte more than was published, so that a huge file is not read; and no room for more than it has."""
    try:
        with file.open("rb") as opened:
            return opened.read(min(os.fstat(opened.fileno()).st_size, weight.size + 1))
    except OSError as error:
        raise WeightError(f"{weight.name}: {file} cannot be read ({error.strerror})") from error


# torch's own errors are about sizes: of no elements, a shape may have more than its strides can count.
_UNREADABLE = (SafetensorError, KeyError, RuntimeError, TypeError)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"numbers of type {error}, which this zoo does not read"
    return str(error).partition("\n")[0]  # torch appends its own call stack


def parse_weight(data: bytes, name: str) -> dict[str, Tensor]:
    """The tensors in verified bytes; raises `WeightError` where they are not safetensors file."""
    try:
        return load_bytes(data)
    except _UNREADABLE as error:
        raise WeightError(f"{name}: not a safetensors file: {_reason(error)}") from error


def read_plain_file(file: Path | str) -> dict[str, Tensor]:
    """The tensors of a safetensors file that no catalog knows; a pickle is never opened.

    Raises:
        WeightError: missing, or no safetensors file.
    """
    try:
        return load_file(file)
    except _UNREADABLE as error:
        raise WeightError(
            f"{file} is not a safetensors file ({_reason(error)}); other formats can hold code and are not read"
        ) from error
    except OSError as error:
        raise WeightError(f"{file} cannot be read: {error}") from error
