"""Former names of what is now in zoo.training.datasets and zoo.training.augmenting; goes when the loop has moved."""

from __future__ import annotations

from pathlib import Path

from zoo.training.augmenting import augment as augment
from zoo.training.datasets import ImageSplit as PackedImages
from zoo.training.datasets import load_split

__all__ = ["PackedImages", "augment", "load_packed"]


def load_packed(path: Path | str) -> PackedImages:
    """A packed split."""
    return load_split(path, "val")
