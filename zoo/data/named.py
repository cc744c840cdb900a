"""Data sets by name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from zoo.data.divide import divide
from zoo.data.image_list import Listing

_CIFAR = ("cifar10", "cifar100")
_CALTECH = ("caltech101", "caltech256")


def dataset_names() -> tuple[str, ...]:
    """Data sets that DATA may name."""
    return (*_CIFAR, *_CALTECH, "imagenet")


def default_root() -> Path:
    """Where data sets are kept: ZOO_DATA, else ~/.cache/has8-zoo/datasets."""
    return Path(os.environ.get("ZOO_DATA") or Path.home() / ".cache" / "has8-zoo" / "datasets")


def list_named(name: str, splits: Sequence[str], root: Path, seed: int, download: bool) -> list[Listing]:
    """Those splits (`train`, `val`) of a data set; of CIFAR val is the test images, Caltech is divided 80/20.

    Raises:
        InputError: it is not there and cannot be had; says what to put where.
    """
    # torchvision takes a second to import, and folders do not need it.
    if name in _CIFAR:
        from zoo.data.cifar import list_cifar

        return [list_cifar(name, split, root, download) for split in splits]
    if name in _CALTECH:
        from zoo.data.caltech import list_caltech

        train, val = divide(list_caltech(name, root, download), seed)
        return [train if split == "train" else val for split in splits]
    from zoo.data.imagenet import list_imagenet

    return [list_imagenet(split, root) for split in splits]
