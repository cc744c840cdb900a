"""Splits: images of one size as bytes, as training and evaluation read them; damaged ones are counted and skipped."""

from __future__ import annotations

import hashlib
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import chain
from threading import Lock
from typing import TypeVar, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.datasets import ImageDataset
from zoo.data.images import Transform
from zoo.errors import InputError
from zoo.progress import LONG, progress

Item = TypeVar("Item")

NAMED = 5
"""How many damaged images are named."""

_AT_ONCE = 256
"""Images handed to the threads at once: enough to keep them busy, few enough to stop soon at an error."""


@final
@dataclass
class Damage:
    """The images of a split that could not be decoded so far; each counts once.

    Attributes:
        limit: how many are skipped before it is an error.
        reasons: row of the data set → the message, which names the image.
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

    def notes(self, which: str) -> list[str]:
        """Say which images are left out; nothing if all were sound."""
        if not self.count:
            return []
        more = f"; and {self.count - len(self.names)} more" if self.count > len(self.names) else ""
        return [f"{self.count} damaged {which} images are left out: {'; '.join(self.names)}{more}"]


class ImageSplit(Dataset[tuple[Tensor, int]], ABC):
    """One split of a data set: a map-style torch data set of images of one size, in a fixed order.

    Attributes:
        classes: names in label order.
        labels: (n,) int64.
        size: (height, width) of the images.
        damage: what could not be decoded so far.
        origin: where the images are from, how they are stored and resized; one line, for logs and cards.
    """

    def __init__(
        self, classes: tuple[str, ...], labels: Tensor, size: tuple[int, int], damage: Damage, origin: str
    ) -> None:
        self.classes, self.labels, self.size, self.damage, self.origin = classes, labels, size, damage, origin

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """Return an image, (3, H, W) uint8, and its label; raises `InputError` if it is damaged."""
        pixels, labels = self.read(torch.tensor([row]))
        if not len(labels):
            raise InputError(self.damage.reasons.get(row, f"image {row} of {self.origin} is damaged"))
        return pixels[0], int(labels[0])

    @abstractmethod
    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images of those rows and their labels, in that order, without the damaged ones.

        Args:
            rows: (N,) int64, from 0 to `len(self) - 1`.

        Returns:
            (M, 3, H, W) uint8 and (M,) int64, M ≤ N.

        Raises:
            InputError: more images are damaged than `damage.limit`.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash of classes, names, labels, stored lengths and size; of data in memory also of all bytes.

        It is the same for the same data on every machine.
        """


@final
class MemorySplit(ImageSplit):
    """A split that was decoded once and is kept as bytes, without damaged images.

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
class StreamedSplit(ImageSplit):
    """A split that is decoded whenever it is read, for data that do not fit in memory."""

    def __init__(self, data: ImageDataset, transform: Transform, max_damaged: int) -> None:
        size = (transform.preprocessing.size,) * 2
        super().__init__(data.classes, data.labels, size, Damage(max_damaged), describe(data, transform))
        self._data, self._transform = data, transform

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        kept = list(decode(self._data, self._transform, rows, self.damage))
        if not kept:
            return torch.empty((0, 3, *self.size), dtype=torch.uint8), self.labels[:0]
        return torch.stack([pixels for _, pixels, _ in kept]), self.labels[[row for row, _, _ in kept]]

    def fingerprint(self) -> str:
        return self._data.fingerprint(self.size)


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


# Decoding -------------------------------------------------------------------------------------------------------------


def decode_split(data: ImageDataset, transform: Transform, max_damaged: int) -> MemorySplit:
    """Decode a whole split, with a progress bar if it takes long.

    Raises:
        InputError: more than `max_damaged` images are damaged, or all.
    """
    damage, side = Damage(max_damaged), transform.preprocessing.size
    contents = hashlib.sha256()
    pixels, left = torch.empty((len(data), 3, side, side), dtype=torch.uint8), data
    if data.pixels is not None and data.pixels.shape[1:] == (side, side, 3) and _is_whole(transform):
        for rows in torch.arange(len(data)).split(_AT_ONCE):
            stored = np.ascontiguousarray(data.pixels[data.keys[rows].numpy()])
            contents.update(stored.data)
            pixels[rows[0] : rows[-1] + 1] = torch.from_numpy(stored).permute(0, 3, 1, 2)
    else:
        kept: list[int] = []
        with progress(f"decoding {data.where}", len(data), visible=len(data) >= LONG) as advance:
            for row, image, digest in decode(data, transform, torch.arange(len(data)), damage, hashed=True):
                pixels[len(kept)] = image
                kept.append(row)
                contents.update(digest)
                advance(1)
        if not kept:
            raise InputError(f"all {len(data)} images of {data.where} are damaged: {'; '.join(damage.names)}")
        pixels, left = pixels[: len(kept)], data.select(torch.tensor(kept))
    origin = describe(left, transform) + (f", {damage.count} damaged ones left out" if damage.count else "")
    identity = left.fingerprint((side, side), contents.digest())
    return MemorySplit(pixels, left.labels, left.classes, origin, identity, damage)


def _is_whole(transform: Transform) -> bool:
    return transform.preprocessing.crop_pct == 1.0


def decode(
    data: ImageDataset, transform: Transform, rows: Tensor, damage: Damage, hashed: bool = False
) -> Iterator[tuple[int, Tensor, bytes]]:
    """Decode those rows in order, on all cores; damaged images are counted and skipped.

    Yields:
        Row, pixels (3, size, size) uint8, and a digest of what is stored, empty unless `hashed`.
    """

    def decode_one(row: int) -> tuple[Tensor, bytes] | InputError:
        try:
            image, content = data.image_and_content(row)
            digest = hashlib.blake2b(content, digest_size=16).digest() if hashed else b""
            return transform.square(image), digest
        except InputError as error:
            return error

    workers = cores()
    with ThreadPoolExecutor(workers) as threads:
        for at_once in rows.split(_AT_ONCE):
            sound = [row for row in at_once.tolist() if row not in damage.reasons]
            groups = share_among(sound, workers)
            decoded = chain.from_iterable(threads.map(lambda group: [decode_one(row) for row in group], groups))
            for row, made in zip(sound, decoded, strict=True):
                if isinstance(made, InputError):
                    damage.add(row, str(made))
                else:
                    yield row, *made


def share_among(items: Sequence[Item], workers: int) -> list[Sequence[Item]]:
    """Divide items into groups to hand to threads: several small images each, since handing over costs as much."""
    step = min(16, 1 + len(items) // (4 * workers))
    return [items[start : start + step] for start in range(0, len(items), step)]


def cores() -> int:
    """Return the number of cores that this process may use, if the system tells."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def describe(data: ImageDataset, transform: Transform) -> str:
    """Say where the images are from, how many, how stored, at which size and how cropped: one line."""
    stated = transform.preprocessing
    cropped = "" if _is_whole(transform) else f", the central {stated.crop_pct:.1%} of each side"
    return (
        f"{data.title}: {len(data):,} images of {len(data.classes)} classes, stored as {data.stored_as}, "
        f"at {stated.size}×{stated.size} pixels{cropped}"
    )


# Drawing --------------------------------------------------------------------------------------------------------------


class Purpose(IntEnum):
    """What a seed is for, so that no two draws share one."""

    ORDER = 0
    AUGMENTATION = 1
    MODEL = 2
    LIMIT = 3


def derive_seed(purpose: Purpose, *position: int) -> int:
    """Return a seed of 32 bits: a function of what it is for and of the place in the run, and of nothing else."""
    # numpy's SeedSequence takes (1,) and (1, 0) for the same: the length goes in too.
    sequence = np.random.SeedSequence((int(purpose), len(position), *position))
    return int(sequence.generate_state(1)[0])


def limit_images(data: ImageSplit, images: int | None, split_seed: int = 3407) -> ImageSplit:
    """Return as many images, drawn class by class in turn, the same ones for any seed of the run; all for None.

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
    """Draw rows class by class in turn.

    Args:
        labels: (n,) int64.
        count: how many rows.
        split_seed: of what is drawn.

    Returns:
        (min(n, count),) int64, ascending.
    """
    generator = torch.Generator().manual_seed(derive_seed(Purpose.LIMIT, split_seed))
    shuffled = torch.randperm(len(labels), generator=generator)
    turns = torch.empty(len(labels), dtype=torch.int64)
    for label in labels.unique().tolist():
        of_class = shuffled[labels[shuffled] == label]
        turns[of_class] = torch.arange(len(of_class))
    return shuffled[turns[shuffled].argsort(stable=True)][:count].sort().values
