"""Caltech-101 and Caltech-256: photographs in one folder a category, without a predefined split."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import final

from torchvision.datasets.utils import download_and_extract_archive, extract_archive

from zoo.data.download import Archive, ensure
from zoo.data.folders import list_files, name_some, subfolders
from zoo.data.image_list import Listing
from zoo.data.images import display_name
from zoo.errors import InputError


@final
@dataclass(frozen=True)
class CaltechArchive(Archive):
    """An archive as torchvision fetches and unpacks it; it keeps address and checksum inside a method.

    Attributes:
        categories: how many there are.
        image: pattern of the file names; its group is the number in the category, from 1 without gaps.
        ignored: folders that are not a category.
    """

    name: str
    url: str
    md5: str
    file: str
    folder: str
    categories: int
    image: str
    ignored: tuple[str, ...] = ()

    def unpack(self, root: Path) -> None:
        file = root / self.file
        download_and_extract_archive(self.url, str(file.parent), filename=file.name, md5=self.md5)
        if file.suffix == ".zip":  # another archive in it
            inner = file.with_suffix("")
            extract_archive(str(inner / "101_ObjectCategories.tar.gz"), str(file.parent))
            shutil.rmtree(inner)

    def problem(self, root: Path) -> str:
        folder = root / self.folder
        return "" if folder.is_dir() else f"{self.name} is not in {display_name(folder)}"


_CALTECH101 = CaltechArchive(
    name="caltech101",
    url="https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
    md5="3138e1922a9193bfa496528edbbc45d0",
    file="caltech101/caltech-101.zip",
    folder="caltech101/101_ObjectCategories",
    categories=101,
    image=r"image_(\d{4})\.jpg",
    ignored=("BACKGROUND_Google",),
)

_CALTECH256 = CaltechArchive(
    name="caltech256",
    url="https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",
    md5="67b4f42ca05d46448c6bb8ecd2220f6d",
    file="caltech256/256_ObjectCategories.tar",
    folder="caltech256/256_ObjectCategories",
    categories=257,  # and the 257th is clutter, as in the paper
    image=r"\d{3}_(\d{4})\.jpg",
)


ARCHIVES = {archive.name: archive for archive in (_CALTECH101, _CALTECH256)}


def list_caltech(name: str, root: Path, download: bool) -> Listing:
    """All images; raises `InputError` where some are missing."""
    archive = ARCHIVES[name]
    ensure(archive, root, download)
    folder = root / archive.folder
    where = display_name(folder)
    categories = [name for name in subfolders(folder) if name not in archive.ignored]
    again = f"remove {where} to have it unpacked or downloaded again"
    if len(categories) != archive.categories:
        raise InputError(f"{where} holds {len(categories)} of the {archive.categories} categories; {again}")
    images = {name: _images(folder / name, archive.image) for name in categories}
    gaps = [name for name, files in images.items() if _has_gaps(files, archive.image)]
    if gaps:
        raise InputError(f"{where} lacks images of {name_some(gaps)}; {again}")
    listed = {name: [f"{name}/{file}" for file in files] for name, files in images.items()}
    return list_files(folder, listed, archive.name)


def _images(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if re.fullmatch(pattern, path.name))


def _has_gaps(files: list[str], pattern: str) -> bool:
    """Whether the numbers are not 1, 2, 3, … as torchvision counts on."""
    numbers = [int(match[1]) for file in files if (match := re.fullmatch(pattern, file))]
    return not numbers or numbers != list(range(1, len(numbers) + 1))
