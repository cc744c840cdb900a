"""The first so many images of a split, all classes alike: a budget, or a few images a class."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from zoo.data import ImageSplit
from zoo.data.seeds import Purpose, derive_seed
from zoo.errors import InputError


@final
class LimitedSplit(ImageSplit):
    """Some rows of another split."""

    def __init__(self, whole: ImageSplit, rows: Tensor) -> None:
        origin = f"{whole.origin}; {len(rows):,} of them"
        super().__init__(whole.classes, whole.labels[rows], whole.size, whole.damage, origin)
        self._whole, self._rows = whole, rows

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self._whole.read(self._rows[rows])

    def fingerprint(self) -> str:
        return f"{self._whole.fingerprint()}:{len(self._rows)}"


def limit_images(data: ImageSplit, images: int | None, split_seed: int = 3407) -> ImageSplit:
    """As many images, drawn class by class in turn, the same ones whatever the run's seed; all where `images` is None.

    Raises:
        InputError: fewer than one a class, or more than there are.
    """
    if images is None or images == len(data):
        return data
    least = len(data.labels.unique())  # a weight may have more classes than these images
    if not least <= images <= len(data):
        raise InputError(f"a limit of {images} images is out of range; valid: {least} (one a class) to {len(data)}")
    return LimitedSplit(data, spread_rows(data.labels, images, split_seed))


def spread_rows(labels: Tensor, count: int, split_seed: int = 3407) -> Tensor:
    """Rows drawn class by class in turn, in ascending order; all where there are no more.

    Args:
        labels: (n,) int64.
        count: how many rows.
        split_seed: of what is drawn.

    Returns:
        (min(n, count),) int64.
    """
    generator = torch.Generator().manual_seed(derive_seed(Purpose.LIMIT, split_seed))
    shuffled = torch.randperm(len(labels), generator=generator)
    turns = torch.empty(len(labels), dtype=torch.int64)
    for label in labels.unique().tolist():
        of_class = shuffled[labels[shuffled] == label]
        turns[of_class] = torch.arange(len(of_class))
    return shuffled[turns[shuffled].argsort(stable=True)][:count].sort().values
