"""CIFAR-10 and CIFAR-100 in the files of their authors, which torchvision checks and reads."""

from __future__ import annotations

from pathlib import Path
from typing import final

import torch
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import check_integrity

from zoo.data.download import Archive, ensure
from zoo.data.image_list import Listing
from zoo.data.images import display_name
from zoo.data.pixels import PixelStore

_DATASETS = {"cifar10": CIFAR10, "cifar100": CIFAR100}


@final
class CifarArchive(Archive):
    """The archive and the files in it, as torchvision knows them."""

    def __init__(self, name: str, dataset: type[CIFAR10]) -> None:
        self.name, self._dataset = name, dataset
        self.url, self.md5 = dataset.url, dataset.tgz_md5
        self.file, self.folder = dataset.filename, dataset.base_folder

    def unpack(self, root: Path) -> None:
        self._dataset(root, download=True)

    def problem(self, root: Path) -> str:
        folder = root / self.folder
        if not folder.is_dir():
            return f"{self.name} is not in {display_name(folder)}"
        meta = (self._dataset.meta["filename"], self._dataset.meta["md5"])
        files = [*self._dataset.train_list, *self._dataset.test_list, meta]
        wrong = [
            f"{file} is {'altered' if (folder / file).is_file() else 'missing'}"
            for file, md5 in files
            if not check_integrity(folder / file, md5)
        ]
        return f"{self.name} is not whole in {display_name(folder)}: {', '.join(wrong)}" if wrong else ""


def list_cifar(name: str, split: str, root: Path, download: bool) -> Listing:
    """The 50,000 or the 10,000 images; the pickles are opened by torchvision, after it has checked their MD5."""
    ensure(CifarArchive(name, _DATASETS[name]), root, download)
    data = _DATASETS[name](root, train=split == "train")
    classes, labels = tuple(data.classes), [int(label) for label in data.targets]
    part = "train" if split == "train" else "test"
    names = [f"{classes[label]}/{part}_{row:05d}" for row, label in enumerate(labels)]
    return Listing(
        store=PixelStore(data.data, names),
        keys=torch.arange(len(labels)),
        labels=torch.tensor(labels),
        classes=classes,
        where=f"{name}, {part} images",
        title=f"{name}, {part} images",
        stored_as="pixels",
    )
