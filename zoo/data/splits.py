"""What a training sees of its data: one split, as bytes, by row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from threading import Lock
from typing import final

from torch import Tensor

from zoo.errors import InputError

NAMED = 5
"""How many damaged images are named."""


@final
@dataclass
class Damage:
    """The images of a split that could not be decoded so far; each counts once.

    Attributes:
        limit: how many are skipped before it is an error.
        reasons: by row of the data as listed, the message, which names the image.
    """

    limit: int
    reasons: dict[int, str] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    @property
    def count(self) -> int:
        """Images that could not be decoded."""
        return len(self.reasons)

    @property
    def names(self) -> tuple[str, ...]:
        """The first few messages; each names an image and what is wrong with it."""
        return tuple(self.reasons[row] for row in sorted(self.reasons)[:NAMED])

    def add(self, row: int, reason: str) -> None:
        """Count an image; raises `InputError` beyond the limit."""
        with self._lock:  # several batches may be read at once
            self.reasons[row] = reason
            count, names = self.count, self.names
        if count > self.limit:
            named = "; ".join(names) + ("; …" if count > NAMED else "")
            raise InputError(
                f"over {self.limit} damaged images, which is as many as are skipped: {named}. "
                "Repair or remove them, or raise the limit (max_damaged)"
            )


class ImageSplit(ABC):
    """One split of a data set, in a fixed order.

    Attributes:
        classes: names in label order.
        labels: (n,) int64.
        size: (height, width) of what `read` returns.
        damage: what could not be decoded so far.
        origin: where the images are from, how they are stored and resized; one line, for logs and cards.
    """

    def __init__(
        self, classes: tuple[str, ...], labels: Tensor, size: tuple[int, int], damage: Damage, origin: str
    ) -> None:
        self.classes, self.labels, self.size, self.damage, self.origin = classes, labels, size, damage, origin

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The images of those rows and their labels, in that order, without the damaged ones.

        Args:
            rows: (N,) int64, from 0 to `len(self) - 1`.

        Returns:
            (M, 3, H, W) uint8 and (M,) int64, M ≤ N.

        Raises:
            InputError: more images are damaged than `damage.limit`.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A short hash of names, labels, stored bytes and size: the same for the same data on every machine.

        Of data that are too large to read through, modification times and a sample stand for the bytes;
        `zoo.data.fingerprints` has the forms.
        """


@final
class MemorySplit(ImageSplit):
    """A split that was decoded once and is kept as bytes; damaged images are left out of it altogether.

    Args:
        pixels: (n, 3, H, W) uint8.
        labels: (n,) int64.
        classes: names in label order.
        origin: where from, how stored.
        identity: the fingerprint.
        damage: what was left out.
    """

    def __init__(
        self, pixels: Tensor, labels: Tensor, classes: tuple[str, ...], origin: str, identity: str, damage: Damage
    ) -> None:
        height, width = pixels.shape[2:]
        super().__init__(classes, labels, (height, width), damage, origin)
        self.pixels, self._identity = pixels, identity

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.pixels[rows], self.labels[rows]

    def fingerprint(self) -> str:
        return self._identity


@final
@dataclass(frozen=True)
class DataSplits:
    """What a training needs: images to learn from, and images to be measured on, with the same classes.

    Attributes:
        train: to learn from.
        val: to be measured on.
        size_reason: why the images have their size, in words that a sentence goes on with.
    """

    train: ImageSplit
    val: ImageSplit
    size_reason: str = "as the data were given"
