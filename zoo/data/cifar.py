"""CIFAR-10 and CIFAR-100 by name, through torchvision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torchvision import datasets

from zoo.contracts.dataset import Dataset
from zoo.data.datasets import ImageDataset, open_arrays
from zoo.data.images import display_name, reading
from zoo.errors import InputError


class Cifar(Dataset):
    """CIFAR-10 or its like (Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images).

    Its test images are `val`. An archive that lies below the root is checked and unpacked without the network.
    """

    api_version = 1
    name: str
    kind: type[datasets.CIFAR10]

    def open(self, rest: str, wanted: Sequence[str], root: Path) -> Mapping[str, ImageDataset]:
        if rest:
            raise InputError(f"{self.name} takes nothing behind a colon, not {display_name(rest)}")
        return {split: self._open_split("train" if split == "train" else "test", root) for split in wanted}

    def _open_split(self, part: str, root: Path) -> ImageDataset:
        advice = "put its archive there, see https://docs.pytorch.org/vision/stable/datasets.html"
        with reading(f"{self.name} below {display_name(root)}", advice):
            root.mkdir(parents=True, exist_ok=True)
            data = self.kind(root, train=part == "train", download=True)
        names = [f"{data.classes[label]}/{part}_{row:05d}" for row, label in enumerate(data.targets)]
        return open_arrays(data.data, data.targets, data.classes, names, f"{self.name}, {part} images")


class Cifar10(Cifar):
    """CIFAR-10: ten classes."""

    name, kind = "cifar10", datasets.CIFAR10


class Cifar100(Cifar):
    """CIFAR-100: a hundred classes."""

    name, kind = "cifar100", datasets.CIFAR100
