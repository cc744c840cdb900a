"""Decoding many images on all cores."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import final

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from zoo.errors import InputError
from zoo.training.datasets.listing import Listing
from zoo.training.datasets.sizing import describe, to_bytes
from zoo.training.datasets.splits import Damage, ImageSplit, MemorySplit

_AT_ONCE = 256
"""Images handed to the threads at once: enough to keep them busy, few enough to stop soon at an error."""

_LONG = 2000
"""Images from which on a progress bar is worth its lines."""


@final
class StreamedSplit(ImageSplit):
    """A split that is decoded whenever it is read, for data that do not fit in memory."""

    def __init__(self, listing: Listing, size: tuple[int, int], max_damaged: int) -> None:
        origin = describe(listing, size)
        super().__init__(listing.classes, listing.labels, size, Damage(max_damaged), origin)
        self._listing, self._fingerprint = listing, ""

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        kept = list(decode(self._listing, self.size, rows, self.damage))
        if not kept:
            return torch.empty((0, 3, *self.size), dtype=torch.uint8), self.labels[:0]
        return torch.stack([image for _, image in kept]), self.labels[[row for row, _ in kept]]

    def fingerprint(self) -> str:
        self._fingerprint = self._fingerprint or self._listing.fingerprint(self.size)
        return self._fingerprint


def decode_split(listing: Listing, size: tuple[int, int], max_damaged: int) -> MemorySplit:
    """Decode a whole split, with a progress bar where it takes long.

    Raises:
        InputError: more than `max_damaged` images are damaged, or all.
    """
    damage = Damage(max_damaged)
    pixels = torch.empty((len(listing), 3, *size), dtype=torch.uint8)
    kept: list[int] = []
    with _progress(len(listing)) as bar:
        task = bar.add_task(f"decoding {escape(listing.where)}", total=len(listing))
        for row, image in decode(listing, size, torch.arange(len(listing)), damage):
            pixels[len(kept)] = image
            kept.append(row)
            bar.update(task, completed=row + 1)
    if not kept:
        raise InputError(f"all {len(listing)} images of {listing.where} are damaged: {'; '.join(damage.names)}")
    left = listing.select(torch.tensor(kept))
    origin = describe(left, size) + (f", {damage.count} damaged ones left out" if damage.count else "")
    return MemorySplit(pixels[: len(kept)], left.labels, left.classes, origin, left.fingerprint(size), damage)


def decode(listing: Listing, size: tuple[int, int], rows: Tensor, damage: Damage) -> Iterator[tuple[int, Tensor]]:
    """Those rows in order, each with its (3, H, W) uint8, without the damaged ones, which are counted."""

    def some(group: list[int]) -> list[Tensor | InputError]:
        return [_decode_one(listing, size, row) for row in group]

    cores = _cores()
    with ThreadPoolExecutor(cores) as threads:
        for at_once in rows.split(_AT_ONCE):
            sound = [row for row in at_once.tolist() if row not in damage.reasons]
            # Several small images a task, since handing one over costs as much; few enough for all cores.
            step = min(16, 1 + len(sound) // (4 * cores))
            groups = [sound[start : start + step] for start in range(0, len(sound), step)]
            for row, image in zip(sound, chain.from_iterable(threads.map(some, groups)), strict=True):
                if isinstance(image, Tensor):
                    yield row, image
                else:
                    damage.add(row, str(image))


def _decode_one(listing: Listing, size: tuple[int, int], row: int) -> Tensor | InputError:
    try:
        return to_bytes(listing.store.image(int(listing.keys[row])), size)
    except InputError as error:
        return error


def _cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _progress(images: int) -> Progress:
    """A bar on stderr for long work, in a terminal and in the first process alone."""
    shown = images >= _LONG and sys.stderr.isatty() and os.environ.get("LOCAL_RANK", "0") == "0"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown)
