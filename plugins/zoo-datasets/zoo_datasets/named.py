"""Caltech101, Caltech256 and ImageNet by name, through torchvision.

An archive that lies below the root is checked and unpacked without the network.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from torchvision import datasets
from torchvision.datasets.imagenet import load_meta_file

from zoo.contracts import Dataset
from zoo.data import ImageDataset, display_name, open_files, open_folder, reading, subfolders
from zoo.errors import InputError

ADVICE = "put its archive there, see https://docs.pytorch.org/vision/stable/datasets.html"


def _check_no_rest(name: str, rest: str) -> None:
    """Raise `InputError` if the name was given as NAME:REST."""
    if rest:
        raise InputError(f"{name} takes nothing behind a colon, not {display_name(rest)}")


class Caltech(Dataset):
    """A folder a category, divided 80/20.

    Attributes:
        name: what `--data` names.
        kind: torchvision's class.
        below: folder of the categories, below the root.
        images: how many there are, without the background's.
    """

    api_version = 1
    name: ClassVar[str]
    kind: ClassVar[type[datasets.Caltech101 | datasets.Caltech256]]
    below: ClassVar[str]
    images: ClassVar[int]

    def open(self, rest: str, wanted: Sequence[str], root: Path) -> Mapping[str, ImageDataset]:
        _check_no_rest(self.name, rest)
        with reading(f"{self.name} below {display_name(root)}", ADVICE):
            root.mkdir(parents=True, exist_ok=True)
            self.kind(str(root), download=True)
            train, val = self._open_categories(root / self.below).divide()
        return {split: train if split == "train" else val for split in wanted}

    def _open_categories(self, folder: Path) -> ImageDataset:
        files = {
            category: sorted(f"{category}/{file.name}" for file in (folder / category).glob("*.jpg"))
            for category in subfolders(folder)
            if category != "BACKGROUND_Google"
        }
        data = open_files(folder, files)
        if len(data) != self.images:  # torchvision looks at the folder's name alone
            raise InputError(
                f"{data.where} holds {len(data):,} of {self.images:,} images; remove it to unpack it again"
            )
        return data


class Caltech101(Caltech):
    """Caltech101 (doi:10.22002/D1.20086)."""

    name, kind, below, images = "caltech101", datasets.Caltech101, "caltech101/101_ObjectCategories", 8_677


class Caltech256(Caltech):
    """Caltech256 (doi:10.22002/D1.20087)."""

    name, kind, below, images = "caltech256", datasets.Caltech256, "caltech256/256_ObjectCategories", 30_607


class ImageNet(Dataset):
    """ImageNet of 2012 (doi:10.1007/s11263-015-0816-y), from the archives that its users are given."""

    api_version = 1

    def open(self, rest: str, wanted: Sequence[str], root: Path) -> Mapping[str, ImageDataset]:
        _check_no_rest("imagenet", rest)
        with reading(f"imagenet below {display_name(root)}", ADVICE):
            (root / "imagenet").mkdir(parents=True, exist_ok=True)
            return {split: _open_imagenet(split, root / "imagenet") for split in wanted}


def _open_imagenet(split: str, folder: Path) -> ImageDataset:
    if not (folder / split).is_dir() or not (folder / "meta.bin").is_file():
        datasets.ImageNet(folder, split)  # unpacks the archives
    if any(re.fullmatch(r"n\d+\.tar|ILSVRC\w+\.JPEG", file.name) for file in (folder / split).iterdir()):
        raise InputError(f"{display_name(folder / split)} holds files outside of classes; remove it to unpack it again")
    data = open_folder(folder / split)
    synonyms = {wnid: ", ".join(names) for wnid, names in load_meta_file(folder)[0].items()}
    if synonyms.keys() != set(data.classes):
        there = f"{len(data.classes):,} of {len(synonyms):,} classes"
        raise InputError(f"{data.where} holds {there}; remove it to unpack it again")
    shared = Counter(synonyms.values())  # both cranes
    titles = (f"{synonyms[wnid]} ({wnid})" if shared[synonyms[wnid]] > 1 else synonyms[wnid] for wnid in data.classes)
    return replace(data, classes=tuple(titles))
