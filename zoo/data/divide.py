"""One set of images divided into a part to learn from and a part to be measured on."""

from __future__ import annotations

import hashlib

import torch

from zoo.data.folders import name_some
from zoo.data.image_list import Listing
from zoo.errors import InputError


def divide(listing: Listing, seed: int) -> tuple[Listing, Listing]:
    """80 % and 20 % of every class, at least one image each.

    Which images go where depends on `seed` and their names alone: no random generator is asked, so that it is the same
    on all machines and with all versions of all libraries, and that a new image moves no other.

    Raises:
        InputError: a class has a single image.
    """
    held: set[int] = set()
    single: list[str] = []
    for label, name in enumerate(listing.classes):
        rows = (listing.labels == label).nonzero().flatten().tolist()
        if len(rows) == 1:
            single.append(name)
        rows.sort(key=lambda row: _rank(seed, listing.store.name(int(listing.keys[row]))))
        held.update(rows[: max(1, round(len(rows) / 5))])
    if single:
        raise InputError(
            f"{listing.where} is divided 80/20, and has one image of {name_some(single)}; at least two are needed"
        )
    kept = torch.tensor([row not in held for row in range(len(listing))])
    part = f"of each class, seed {seed}"
    return (
        listing.select(kept.nonzero().flatten(), f"80 % {part}"),
        listing.select((~kept).nonzero().flatten(), f"20 % {part}"),
    )


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()
