"""Splits: images of one size as bytes, as training and evaluation read them; damaged ones are counted and skipped."""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zoo.data.datasets import RGB, ImageDataset, name_some
from zoo.data.images import Transform, display_name, to_rgb
from zoo.errors import InputError
from zoo.processes import gather
from zoo.progress import LONG, progress

Item = TypeVar("Item")
Read = TypeVar("Read")

SPLIT_ALIASES = {"train": ("train",), "val": ("val", "valid", "validation", "test")}
"""Names of a split's folder or file, the first that is there counts: `test` is used if there is no `val`."""

SPLITS = (*SPLIT_ALIASES["train"], *SPLIT_ALIASES["val"])

_AHEAD = 512
"""Images that are decoded ahead: enough to keep the threads busy, few enough to stop soon at an error."""


def split_of(file: Path) -> str:
    """Return the split that a file's name begins with, as in train-0000.tar; else `train`."""
    known = re.match(rf"({'|'.join(SPLITS)})(?![a-z])", file.stem.lower())
    return known[1] if known else "train"


@final
class ImageSplit(Dataset[tuple[Tensor, int]]):
    """One split of a data set: a map-style torch data set of square images of one size, in a fixed order.

    Attributes:
        data: the images.
        pixels: (n, 3, H, W) uint8, the images decoded, or frames (n, T, C, H, W); None to decode them whenever they
            are read.
        damaged: name → message of each image that could not be decoded so far.
        classes: names in label order.
        labels: (n,) int64.
        size: (height, width) of the images.
        origin: file or folder, number and size of the images; one line, for logs and cards.
    """

    def __init__(
        self,
        data: ImageDataset,
        transform: Transform,
        pixels: Tensor | None = None,
        damaged: dict[str, str] | None = None,
    ) -> None:
        self.data, self.pixels, self._transform = data, pixels, transform
        self.damaged = {} if damaged is None else damaged
        self.classes, self.labels, side = data.classes, data.labels, transform.preprocessing.size
        self.size = side, side
        left_out = f", {len(self.damaged)} damaged ones left out" if self.damaged else ""
        images = f"{len(data):,} images of {len(data.classes)} classes, at {side}×{side} pixels"
        self.origin = f"{data.where}: {images}{left_out}"

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        """Return an image, (3, H, W) uint8, and its label; raises `InputError` if it is damaged."""
        return self._square(row) if self.pixels is None else self.pixels[row], int(self.labels[row])

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return images (M, 3, H, W) uint8 and labels (M,) int64 of rows (N,), in that order, without damaged ones."""
        pixels, sound = self.read_sound(rows)
        return pixels, self.labels[sound]

    def read_sound(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return images (M, 3, H, W) uint8 of rows (N,), and the rows (M,) that are not damaged."""
        if self.pixels is not None:
            return self.pixels[rows], rows
        kept = list(self._decode(rows))
        if not kept:
            return torch.empty((0, *self.data.axes, *self.size), dtype=torch.uint8), rows[:0]
        return torch.stack([pixels for _, pixels in kept]), torch.tensor([row for row, _ in kept])

    def mirror(self, pixels: Tensor, rows: Tensor, chosen: Tensor) -> Tensor:
        """Mirror the chosen ones (M,) of images that `read_sound` gave; frames are made again of a mirrored image."""
        if self.data.mirrored is None:
            return torch.where(chosen.reshape(-1, *[1] * (pixels.dim() - 1)), pixels.flip(-1), pixels)
        mirrored = ImageSplit(replace(self.data, stored=self.data.mirrored), self._transform)
        result = pixels.clone()
        result[chosen] = mirrored.read(rows[chosen])[0]
        return result

    def decoded(self) -> ImageSplit:
        """Return the split with its sound images decoded, in memory; raises `InputError` if there are none."""
        pixels, kept = torch.empty((len(self), *self.data.axes, *self.size), dtype=torch.uint8), list[int]()
        with progress(f"decoding {self.data.where}", len(self), visible=len(self) >= LONG) as advance:
            for row, image in self._decode(torch.arange(len(self))):
                pixels[len(kept)] = image
                kept.append(row)
                advance(1)
        if not kept:
            raise InputError(f"{self.data.where} has no sound images: {'; '.join(self.damage_notes('its'))}")
        return ImageSplit(self.data.select(torch.tensor(kept)), self._transform, pixels[: len(kept)], self.damaged)

    def damage_notes(self, which: str) -> list[str]:
        """Count and name the images that were left out so far; empty if all were sound."""
        if not self.damaged:
            return []
        reasons = [self.damaged[name] for name in sorted(self.damaged)]
        shown = "; ".join(reasons[:5]) + ("; …" if len(reasons) > 5 else "")
        return [f"{len(reasons)} damaged {which} images are left out: {shown}"]

    def gather_damaged(self) -> None:
        """Count the damaged images of all processes, each of which has read images of its own."""
        for damaged in gather(dict(self.damaged)):
            self.damaged.update(damaged)

    def select(self, rows: Tensor) -> ImageSplit:
        """Return those rows alone."""
        data = self.data.select(rows, f"a sample of {len(self):,}")
        return ImageSplit(data, self._transform, None if self.pixels is None else self.pixels[rows], self.damaged)

    def fingerprint(self, times: bool = True) -> str:
        """Return a hash of classes, names, labels and size, and of all pixels, or of bytes and times of their files.

        Without `times`, copies of the same files have the same.
        """
        size = self.size if self.data.axes == RGB else (*self.data.axes, *self.size)
        digest = hashlib.sha256(repr((self.classes, size)).encode())
        for row, (name, label) in enumerate(zip(self.data.names, self.labels.tolist(), strict=True)):
            digest.update(f"{name}\0{label}\n".encode(errors="backslashreplace"))
            if self.pixels is None:
                known = self.data.identify(row)
                digest.update(repr(known[0] if isinstance(known, tuple) and not times else known).encode())
        if self.pixels is not None:
            digest.update(self.pixels.numpy().data)
        return digest.hexdigest()[:32]

    def _square(self, row: int) -> Tensor:
        if self.data.axes != RGB:
            return self._transform.square(self.data.item(row))
        stored = self.data.stored(row)
        whole = self._transform.preprocessing.crop_pct == 1.0
        if isinstance(stored, np.ndarray) and stored.shape == (*self.size, 3) and whole:  # much faster than Pillow
            return torch.from_numpy(stored.copy()).permute(2, 0, 1)
        return self._transform.square(to_rgb(stored, display_name(self.data.names[row])))

    def _decode(self, rows: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield each sound row and its pixels, decoded on all cores; the others are counted."""

        def decode(row: int) -> tuple[int, Tensor | InputError]:
            try:
                return row, self._square(row)
            except InputError as error:
                return row, error

        for row, pixels in map_ahead(decode, rows.tolist(), _AHEAD):
            if isinstance(pixels, InputError):
                self.damaged[self.data.names[row]] = str(pixels)
            else:
                yield row, pixels


@final
@dataclass(frozen=True)
class DataSplits:
    """Images to learn from and images to be measured on, with the same classes.

    Raises:
        InputError: their classes differ.
    """

    train: ImageSplit
    val: ImageSplit

    def __post_init__(self) -> None:
        if self.val.classes != self.train.classes:
            train, val = name_some(self.train.classes), name_some(self.val.classes)
            raise InputError(f"both splits must have the same classes in the same order, not {train} and {val}")


def map_ahead(read: Callable[[Item], Read], items: Iterable[Item], ahead: int) -> Generator[Read, None, None]:
    """Yield `read(item)` of every item, in order; the next `ahead` ones are read meanwhile, in threads."""
    threads, left = ThreadPoolExecutor(thread_name_prefix="reading"), iter(items)
    try:
        waiting = deque(threads.submit(read, item) for item in islice(left, ahead))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(threads.submit(read, item) for item in islice(left, 1))
            yield done
    finally:  # also if the caller stops early
        threads.shutdown(cancel_futures=True)


_LIMIT_SEED = 453_097_933
"""Fixed, so that samples and the figures measured on them are the same in every run."""


def limit_images(data: ImageSplit, images: int | None) -> ImageSplit:
    """Return as many images, drawn class by class in turn, the same ones in every run; all for None.

    Raises `InputError` for fewer than one a class, or more than there are.
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
