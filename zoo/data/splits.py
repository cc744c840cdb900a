"""Splits: images of one size as bytes, as training and evaluation read them; damaged ones are counted and skipped."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, islice
from threading import Lock
from typing import TypeVar, final

import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.datasets import ImageDataset
from zoo.data.images import Transform
from zoo.errors import InputError
from zoo.progress import LONG, progress

Item = TypeVar("Item")
Read = TypeVar("Read")

NAMED = 5
"""Damaged images that are named."""

_AT_ONCE = 256
"""Images handed to the threads at once: enough to keep them busy, few enough to stop soon at an error."""

_AHEAD = 2
"""Batches that are read ahead: with one the reader would wait for a large file."""


@final
@dataclass
class Damage:
    """The images of a split that could not be decoded so far; each counts once.

    Attributes:
        limit: the number that is skipped before it is an error.
        reasons: number of the image → the message, which names it.
    """

    limit: int
    reasons: dict[int, str] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def count(self) -> int:
        """Images that could not be decoded."""
        return len(self.reasons)

    @property
    def names(self) -> tuple[str, ...]:
        """The first few messages; each names an image and its fault."""
        return tuple(self.reasons[key] for key in sorted(self.reasons)[:NAMED])

    def add(self, key: int, reason: str) -> None:
        """Count an image; raises `InputError` beyond the limit."""
        with self._lock:  # several batches may be read at once
            self.reasons[key] = reason
            if self.count > self.limit:
                raise InputError(
                    f"over {self.limit} damaged images: {'; '.join(self.names)}. Repair or remove them, or raise the "
                    "limit (max_damaged)"
                )

    def notes(self, which: str) -> list[str]:
        """Name the images that are left out; empty if all were sound."""
        more = "; …" * (self.count > NAMED)
        return [f"{self.count} damaged {which} images are left out: {'; '.join(self.names)}{more}"][: self.count]


@final
class ImageSplit(Dataset[tuple[Tensor, int]]):
    """One split of a data set: a map-style torch data set of square images of one size, in a fixed order.

    Args:
        data: the images.
        transform: size, interpolation and crop.
        damage: the images that could not be decoded so far.
        pixels: (n, 3, H, W) uint8, the images decoded; None to decode them whenever they are read.

    Attributes:
        data, damage, pixels: as above.
        classes: names in label order.
        labels: (n,) int64.
        size: (height, width) of the images.
        origin: file or folder, number and size of the images; one line, for logs and cards.
    """

    def __init__(self, data: ImageDataset, transform: Transform, damage: Damage, pixels: Tensor | None = None) -> None:
        self.data, self.damage, self.pixels, self._transform = data, damage, pixels, transform
        self.classes, self.labels, side = data.classes, data.labels, transform.preprocessing.size
        self.size = side, side
        left_out = f", {damage.count} damaged ones left out" if damage.count else ""
        images = f"{len(data):,} images of {len(data.classes)} classes, at {side}×{side} pixels"
        self.origin = f"{data.where}: {images}{left_out}"

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """Return an image, (3, H, W) uint8, and its label; raises `InputError` if it is damaged."""
        pixels, labels = self.read(torch.tensor([row]))
        if not len(labels):
            raise InputError(self.damage.reasons[int(self.data.keys[row])])
        return pixels[0], int(labels[0])

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images of those rows and their labels, in that order, without the damaged ones.

        Args:
            rows: (N,) int64, from 0 to `len(self) - 1`.

        Returns:
            (M, 3, H, W) uint8 and (M,) int64, M ≤ N.

        Raises:
            InputError: more images are damaged than `damage.limit`.
        """
        if self.pixels is not None:
            return self.pixels[rows], self.labels[rows]
        kept = list(self._decode(rows))
        if not kept:
            return torch.empty((0, 3, *self.size), dtype=torch.uint8), self.labels[:0]
        return torch.stack([pixels for _, pixels in kept]), self.labels[[row for row, _ in kept]]

    def decoded(self) -> ImageSplit:
        """Return the split with its sound images decoded, in memory; shows a progress bar if that takes long.

        Raises:
            InputError: more images are damaged than `damage.limit`, or all.
        """
        data, side = self.data, self.size[0]
        pixels = torch.empty((len(data), 3, side, side), dtype=torch.uint8)
        cropped = self._transform.preprocessing.crop_pct != 1.0
        if data.pixels is not None and data.pixels.shape[1:] == (side, side, 3) and not cropped:
            for rows in torch.arange(len(data)).split(_AT_ONCE):
                pixels[rows] = torch.from_numpy(data.pixels[data.keys[rows].numpy()]).permute(0, 3, 1, 2)
            return ImageSplit(data, self._transform, self.damage, pixels)
        kept: list[int] = []
        with progress(f"decoding {data.where}", len(data), visible=len(data) >= LONG) as advance:
            for row, image in self._decode(torch.arange(len(data))):
                pixels[len(kept)] = image
                kept.append(row)
                advance(1)
        if not kept:
            raise InputError(f"all {len(data)} images of {data.where} are damaged: {'; '.join(self.damage.names)}")
        return ImageSplit(data.select(torch.tensor(kept)), self._transform, self.damage, pixels[: len(kept)])

    def select(self, rows: Tensor) -> ImageSplit:
        """Return those rows alone."""
        data = self.data.select(rows, f"a sample of {len(self):,}")
        return ImageSplit(data, self._transform, self.damage, None if self.pixels is None else self.pixels[rows])

    def fingerprint(self) -> str:
        """Return a hash of classes, names, labels and size, and of all pixels if they are in memory."""
        digest = hashlib.sha256(repr((self.classes, self.size)).encode())
        for row, label in enumerate(self.labels.tolist()):
            digest.update(f"{self.data.name(row)}\0{label}\n".encode(errors="backslashreplace"))
        if self.pixels is not None:
            digest.update(self.pixels.numpy().data)
        return digest.hexdigest()[:32]

    def _decode(self, rows: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield each sound row and its pixels, decoded on all cores."""

        def decode(row: int) -> Tensor | InputError:
            try:
                return self._transform.square(self.data[row][0])
            except InputError as error:
                return error

        keys = self.data.keys[rows].tolist()
        known = [row for row, key in zip(rows.tolist(), keys, strict=True) if key not in self.damage.reasons]
        decoded = chain.from_iterable(read_ahead(iter(known), decode, _AT_ONCE))
        for row, made in zip(known, decoded, strict=True):
            if isinstance(made, InputError):
                self.damage.add(int(self.data.keys[row]), str(made))
            else:
                yield row, made


@final
@dataclass(frozen=True)
class DataSplits:
    """Images to learn from and images to be measured on, with the same classes.

    Attributes:
        train: to learn from.
        val: to be measured on.
        size_reason: reason for the images' size, as the end of a sentence.

    Raises:
        InputError: their classes differ.
    """

    train: ImageSplit
    val: ImageSplit
    size_reason: str = "as the data were given"

    def __post_init__(self) -> None:
        if self.val.classes != self.train.classes:
            raise InputError(
                f"the validation split has the classes {', '.join(self.val.classes)}, "
                f"the training split {', '.join(self.train.classes)}; they must be the same, in the same order"
            )


def read_ahead(
    items: Iterator[Item], read: Callable[[Item], Read], batch_size: int
) -> Generator[list[Read], None, None]:
    """Yield batches of `read(item)`, in the items' order; the next two batches are read meanwhile, in threads."""
    workers = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    threads = ThreadPoolExecutor(workers, thread_name_prefix="decoding")
    waiting: deque[list[Future[list[Read]]]] = deque()

    def read_group(group: Sequence[Item]) -> list[Read]:
        return [read(item) for item in group]

    def collect(groups: list[Future[list[Read]]]) -> list[Read]:
        return list(chain.from_iterable(group.result() for group in groups))

    try:
        while batch := list(islice(items, batch_size)):
            step = min(16, 1 + len(batch) // (4 * workers))  # handing over a small image costs as much as reading it
            groups = [batch[start : start + step] for start in range(0, len(batch), step)]
            waiting.append([threads.submit(read_group, group) for group in groups])
            if len(waiting) > _AHEAD:
                yield collect(waiting.popleft())
        yield from map(collect, waiting)
    finally:  # also if the caller stops early
        threads.shutdown(cancel_futures=True)


# Drawing --------------------------------------------------------------------------------------------------------------


_LIMIT_SEED = 453_097_933
"""Fixed, so that samples and the figures measured on them are the same in every run."""


def limit_images(data: ImageSplit, images: int | None) -> ImageSplit:
    """Return as many images, drawn class by class in turn, the same ones in every run; all for None.

    Raises:
        InputError: fewer than one a class, or more than there are.
    """
    if images is None or images == len(data):
        return data
    least = len(data.labels.unique())  # a weight may have more classes than these images
    if not least <= images <= len(data):
        raise InputError(f"a limit of {images} images is out of range; valid: {least} (one a class) to {len(data)}")
    return data.select(spread_rows(data.labels, images))


def spread_rows(labels: Tensor, count: int) -> Tensor:
    """Draw at most `count` rows class by class in turn: labels (n,) int64 → (min(n, count),) int64, ascending."""
    generator = torch.Generator().manual_seed(_LIMIT_SEED)
    shuffled = torch.randperm(len(labels), generator=generator)
    turns = torch.empty(len(labels), dtype=torch.int64)
    for label in labels.unique().tolist():
        of_class = shuffled[labels[shuffled] == label]
        turns[of_class] = torch.arange(len(of_class))
    return shuffled[turns[shuffled].argsort(stable=True)][:count].sort().values
