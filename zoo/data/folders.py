"""Folders of class folders, as torchvision's ImageFolder reads them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, final

import torch
from PIL import Image

from zoo.data.fingerprints import hash_stream
from zoo.data.image_list import ImageStore, Listing, title_of
from zoo.data.images import SUFFIXES, decode_image, display_name, open_image, read_image, upright_size
from zoo.errors import InputError, shorten

_KINDS = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe"), "JPEG"),
    **dict.fromkeys((".tif", ".tiff"), "TIFF"),
    ".jp2": "JPEG 2000",
    ".webp": "WebP",
}


@final
class FileStore(ImageStore):
    """Image files below a folder.

    Args:
        root: the folder.
        names: (n,) `class/file` below it, with slashes.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        self._root, self._names = root, names

    in_memory = False

    def name(self, key: int) -> str:
        return self._names[key]

    def image(self, key: int) -> Image.Image:
        return read_image(self._root / self._names[key])

    def upright_size(self, key: int) -> tuple[int, int]:
        path = self._root / self._names[key]
        with open_image(path) as file:
            return upright_size(file, display_name(path))

    def stored_bytes(self, key: int) -> int:
        try:
            return (self._root / self._names[key]).stat().st_size
        except OSError:  # a broken link: reading it tells
            return 0

    def digest(self, key: int) -> bytes:
        path = self._root / self._names[key]
        with open_image(path) as file:
            return _hash_file(file, path)

    def image_and_digest(self, key: int) -> tuple[Image.Image, bytes]:
        """The file is opened once, and its second reading comes out of the system's memory."""
        path = self._root / self._names[key]
        with open_image(path) as file:
            digest = _hash_file(file, path)
            file.seek(0)
            return decode_image(file, display_name(path)), digest

    def modified(self, key: int) -> int:
        try:
            return int((self._root / self._names[key]).stat().st_mtime)
        except OSError:
            return 0


def _hash_file(file: BinaryIO, path: Path) -> bytes:
    try:
        return hash_stream(file)
    except OSError as error:
        raise InputError(f"{display_name(path)} cannot be read: {error.strerror}") from error


def list_classes(folder: Path) -> Listing:
    """The images of a folder of class folders, at any depth in these; sorted, without hidden ones.

    Links are followed, but not back to a folder that they lie in.

    Raises:
        InputError: there is no class folder, one is empty, or one cannot be listed.
    """
    where = display_name(folder)
    classes = subfolders(folder)
    if not classes:
        raise InputError(f"{where} {_instead(folder)}; each class's images must lie in a folder of its name")
    images = {name: sorted(_walk(folder / name, f"{name}/", frozenset())) for name in classes}
    empty = [name for name in classes if not images[name]]
    if len(empty) == len(classes):
        raise InputError(f"{where} holds no images in its {len(classes)} class folders; {_suffixes()}")
    if empty:
        raise InputError(f"{where}: no images for {name_some(empty)}; fill or remove these folders; {_suffixes()}")
    return list_files(folder, images, title_of(folder))


def list_files(folder: Path, images: dict[str, list[str]], title: str) -> Listing:
    """The files that are given for each class, as paths below `folder`."""
    names = [name for files in images.values() for name in files]
    counts = torch.tensor([len(files) for files in images.values()])
    return Listing(
        store=FileStore(folder, names),
        keys=torch.arange(len(names)),
        labels=torch.repeat_interleave(torch.arange(len(images)), counts),
        classes=tuple(images),
        where=display_name(folder),
        title=title,
        stored_as=_kinds(names),
    )


def name_some(names: Sequence[str], most: int = 5) -> str:
    """The first few names, quoted, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shorten(name) for name in names[:most]) + more


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, sorted, without hidden ones; links count."""
    return sorted(entry.name for entry in _entries(folder) if _is_folder(entry))


def holds_images(folder: Path) -> bool:
    """Whether image files lie in the folder itself."""
    return any(_is_image(entry.name) and not _is_folder(entry) for entry in _entries(folder))


def _walk(folder: Path | str, prefix: str, above: Collection[tuple[int, int]]) -> Iterator[str]:
    status = os.stat(folder)
    identity = (status.st_dev, status.st_ino)
    if identity in above:  # a link to a folder that it lies in
        return
    for entry in _entries(folder):
        if _is_folder(entry):
            yield from _walk(entry.path, f"{prefix}{entry.name}/", {*above, identity})
        elif _is_image(entry.name):
            yield prefix + entry.name


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{display_name(folder)} cannot be listed: {error.strerror}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _instead(folder: Path) -> str:
    return "holds images, but no class folders" if holds_images(folder) else "holds no class folders and no images"


def _suffixes() -> str:
    return f"names of images end with one of {', '.join(SUFFIXES)}"


def _kinds(names: Sequence[str]) -> str:
    """The image formats that the files' names tell, such as `JPEG and PNG`."""
    suffixes = {os.path.splitext(name)[1].lower() for name in names}
    return " and ".join(sorted({_KINDS.get(suffix, suffix[1:].upper()) for suffix in suffixes}))
