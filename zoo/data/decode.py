"""Decoding many images on all cores."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple, TypeVar, final

import torch
from rich.markup import escape
from torch import Tensor

from zoo.data.fingerprints import READ_THROUGH, SAMPLE, Kind, write_fingerprint
from zoo.data.image_list import Listing
from zoo.data.progress import progress_bar
from zoo.data.size import WHOLE_IMAGES, Framing, describe, to_bytes
from zoo.data.splits import Damage, ImageSplit, MemorySplit
from zoo.errors import InputError

Item = TypeVar("Item")

_AT_ONCE = 256
"""Images handed to the threads at once: enough to keep them busy, few enough to stop soon at an error."""


@final
class StreamedSplit(ImageSplit):
    """A split that is decoded whenever it is read, for data that do not fit in memory."""

    def __init__(
        self, listing: Listing, size: tuple[int, int], max_damaged: int, framing: Framing = WHOLE_IMAGES
    ) -> None:
        origin = describe(listing, size, framing)
        super().__init__(listing.classes, listing.labels, size, Damage(max_damaged), origin)
        self._listing, self._framing, self._fingerprint = listing, framing, ""

    def read(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        kept = list(decode(self._listing, self.size, rows, self.damage, framing=self._framing))
        if not kept:
            return torch.empty((0, 3, *self.size), dtype=torch.uint8), self.labels[:0]
        return torch.stack([one.pixels for one in kept]), self.labels[[one.row for one in kept]]

    def fingerprint(self) -> str:
        if not self._fingerprint:
            listed = self._listing.fingerprint(self.size)
            self._fingerprint = write_fingerprint(listed, *_hash_contents(self._listing))
        return self._fingerprint


def decode_split(
    listing: Listing, size: tuple[int, int], max_damaged: int, framing: Framing = WHOLE_IMAGES
) -> MemorySplit:
    """Decode a whole split, with a progress bar where it takes long.

    Raises:
        InputError: more than `max_damaged` images are damaged, or all.
    """
    damage = Damage(max_damaged)
    pixels = torch.empty((len(listing), 3, *size), dtype=torch.uint8)
    kept: list[int] = []
    contents = hashlib.sha256()
    with progress_bar(len(listing)) as bar:
        task = bar.add_task(f"decoding {escape(listing.where)}", total=len(listing))
        for decoded in decode(listing, size, torch.arange(len(listing)), damage, hashed=True, framing=framing):
            pixels[len(kept)] = decoded.pixels
            kept.append(decoded.row)
            contents.update(decoded.digest)
            bar.update(task, completed=decoded.row + 1)
    if not kept:
        raise InputError(f"all {len(listing)} images of {listing.where} are damaged: {'; '.join(damage.names)}")
    left = listing.select(torch.tensor(kept))
    origin = describe(left, size, framing) + (f", {damage.count} damaged ones left out" if damage.count else "")
    identity = write_fingerprint(left.fingerprint(size), "bytes", contents.hexdigest()[:16])
    return MemorySplit(pixels[: len(kept)], left.labels, left.classes, origin, identity, damage)


@final
class Decoded(NamedTuple):
    """An image.

    Attributes:
        row: in the listing.
        pixels: (3, H, W) uint8.
        digest: of what is stored; empty where that was not asked for.
    """

    row: int
    pixels: Tensor
    digest: bytes


def decode(
    listing: Listing,
    size: tuple[int, int],
    rows: Tensor,
    damage: Damage,
    hashed: bool = False,
    framing: Framing = WHOLE_IMAGES,
) -> Iterator[Decoded]:
    """Those rows in order, without the damaged ones, which are counted; `hashed` with their digests."""

    def some(group: list[int]) -> list[Decoded | InputError]:
        return [_decode_one(listing, size, row, hashed, framing) for row in group]

    workers = cores()
    with ThreadPoolExecutor(workers) as threads:
        for at_once in rows.split(_AT_ONCE):
            sound = [row for row in at_once.tolist() if row not in damage.reasons]
            decoded = chain.from_iterable(threads.map(some, share_among(sound, workers)))
            for row, image in zip(sound, decoded, strict=True):
                if isinstance(image, Decoded):
                    yield image
                else:
                    damage.add(row, str(image))


def _decode_one(
    listing: Listing, size: tuple[int, int], row: int, hashed: bool, framing: Framing
) -> Decoded | InputError:
    key = int(listing.keys[row])
    try:
        image, digest = listing.store.image_and_digest(key) if hashed else (listing.store.image(key), b"")
        return Decoded(row, to_bytes(image, size, framing), digest)
    except InputError as error:
        return error


def _hash_contents(listing: Listing) -> tuple[Kind, str]:
    """A hash of the images' bytes: of all, or of a sample and all modification times where files are too large."""
    store, keys = listing.store, listing.keys.tolist()
    contents = hashlib.sha256()
    kind: Kind = "bytes"
    if not store.in_memory and sum(map(store.stored_bytes, keys)) > READ_THROUGH:
        kind = "sampled"
        contents.update(repr(list(map(store.modified, keys))).encode())
        keys = keys[:: max(1, len(keys) // SAMPLE)][:SAMPLE]

    def digest(key: int) -> bytes:
        try:
            return store.digest(key)
        except InputError:  # decoding it counts it among the damaged ones, and names it
            return b"unreadable"

    with progress_bar(len(keys)) as bar, ThreadPoolExecutor(cores()) as threads:
        task = bar.add_task(f"reading {escape(listing.where)}", total=len(keys))
        for start in range(0, len(keys), _AT_ONCE):
            for value in threads.map(digest, keys[start : start + _AT_ONCE]):
                contents.update(value)
            bar.update(task, completed=start + _AT_ONCE)
    return kind, contents.hexdigest()[:16]


def share_among(items: Sequence[Item], workers: int) -> list[Sequence[Item]]:
    """Groups to hand to threads: several small images each, since handing over costs as much; enough for all."""
    step = min(16, 1 + len(items) // (4 * workers))
    return [items[start : start + step] for start in range(0, len(items), step)]


def cores() -> int:
    """The cores that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
