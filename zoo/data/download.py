"""Archives from the network, checked by torchvision's checksums, unpacked beside and moved into place when whole."""

from __future__ import annotations

import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from torchvision.datasets.utils import check_integrity

from zoo.data.images import display_name
from zoo.errors import InputError
from zoo.files import move_folder, new_folder

_TIMEOUT = 15
"""Seconds that the server has to answer before anything is asked of torchvision, which waits for ever."""

_FAILURES = (OSError, RuntimeError, EOFError, zipfile.BadZipFile, tarfile.TarError)


class Archive(ABC):
    """What is downloaded of a data set, and what it becomes.

    Attributes:
        name: of the data set.
        url: of the archive.
        md5: of the archive, torchvision's.
        file: where the archive may be put by hand, below the root of all data sets.
        folder: what it becomes, below the root.
    """

    name: str
    url: str
    md5: str
    file: str
    folder: str

    @abstractmethod
    def unpack(self, root: Path) -> None:
        """Download the archive to `file` below `root`, unless it is there, and unpack it to `folder`."""

    @abstractmethod
    def problem(self, root: Path) -> str:
        """What is missing or altered in `folder` below `root`; empty where it is whole."""


def ensure(archive: Archive, root: Path, download: bool) -> None:
    """Have the data below `root`: as they are, else unpacked from the archive there, else downloaded.

    Raises:
        InputError: none of these; it says what to put where.
    """
    if not archive.problem(root):
        return
    with locked(archive.name, root):
        problem = archive.problem(root)  # another process may have fetched them meanwhile
        if problem:
            _fetch(archive, root, download, problem)


@contextmanager
def locked(name: str, root: Path) -> Iterator[None]:
    """One process at a time prepares a data set below `root`, which is made."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):
            yield
    except OSError as error:
        raise InputError(f"{display_name(root)} cannot hold {name}: {error}; choose another root") from error


def _fetch(archive: Archive, root: Path, download: bool, problem: str) -> None:
    own = root / archive.file
    whole = check_integrity(own, archive.md5)
    if own.is_file() and not whole:
        problem += f"; {display_name(own)} is not the expected archive, its MD5 is another"
    if not whole and not download:
        raise InputError(f"{problem}, and downloading is switched off. {_by_hand(archive, root)}")
    partial = root / f".{archive.name}.partial"
    try:
        (new_folder(partial) / archive.file).parent.mkdir(parents=True, exist_ok=True)
        if whole:
            (partial / archive.file).symlink_to(own.absolute())
        else:
            _knock(archive.url)
        archive.unpack(partial)
        move_folder(partial / archive.folder, root / archive.folder)
    except _FAILURES as error:
        doing = "unpacking it failed" if whole else f"downloading {archive.url} failed"
        raise InputError(f"{problem}; {doing} ({_reason(error)}). {_by_hand(archive, root)}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _knock(url: str) -> None:
    """Raise `OSError` where no such server answers."""
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT).close()
    except urllib.error.HTTPError as error:
        error.close()  # it answers; whether it has the file shows in the download


def _by_hand(archive: Archive, root: Path) -> str:
    return (
        f"Where there is no network, fetch {archive.url} elsewhere (MD5 {archive.md5}) and put it there as "
        f"{display_name(root / archive.file)}; it is unpacked on the next call"
    )


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
