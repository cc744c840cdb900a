"""To which size the images of a data set are brought, all to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zoo.data.image_list import Listing
from zoo.data.images import fit
from zoo.errors import InputError, check_count

LARGEST = 224
"""Pixels a side above which images are resized: the paper's size."""

INTERPOLATION = "bicubic"
"""As `zoo predict` does, so that a network is asked about what it was trained on."""


@final
@dataclass(frozen=True)
class Framing:
    """How images are brought to their size.

    Attributes:
        interpolation: of Pillow's.
        crop_pct: the share of the resized side that the central crop keeps.
    """

    interpolation: str = INTERPOLATION
    crop_pct: float = 1.0


WHOLE_IMAGES = Framing()
"""As images are trained on."""


@final
@dataclass(frozen=True)
class ChosenSize:
    """To which size images are brought.

    Attributes:
        size: (height, width), alike.
        reason: why, in words that a sentence goes on with.
    """

    size: tuple[int, int]
    reason: str


def choose_size(listings: Sequence[Listing], image_size: int | None = None) -> ChosenSize:
    """`image_size`; else 224 where an image has a longer side; else the smallest shorter side.

    So small images are not enlarged among small ones. Headers are read until a side is over 224: a data set of
    photographs is decided after one image.

    Raises:
        InputError: no image can be read.
    """
    if image_size is not None:
        side = check_count("image_size", image_size, 1, 16384)
        return ChosenSize((side, side), "as asked for")
    if sides := [listing.side for listing in listings if listing.side is not None]:
        return ChosenSize((sides[0], sides[0]), "to which the data were brought when they were packed")
    smallest = LARGEST + 1
    reasons: list[str] = []
    for listing in listings:
        for key in listing.keys.tolist():
            try:
                size = listing.store.upright_size(key)
            except InputError as error:
                reasons.append(str(error))
                continue
            if max(size) > LARGEST:
                return ChosenSize((LARGEST, LARGEST), f"since an image of the data has a side over {LARGEST}")
            smallest = min(smallest, *size)
    if smallest > LARGEST:
        raise InputError(f"none of the {len(reasons)} images of {listings[0].where} can be read: {reasons[0]}")
    return ChosenSize((smallest, smallest), "the smallest shorter side among the data's images")


def to_bytes(image: Image.Image, size: tuple[int, int], framing: Framing = WHOLE_IMAGES) -> Tensor:
    """An RGB image as (3, height, width) uint8: as it is where it has that size and is kept whole, else fitted."""
    height, width = size
    whole = image.size == (width, height) and framing.crop_pct == 1.0
    fitted = image if whole else fit(image, (width, height), framing.interpolation, framing.crop_pct)
    return torch.from_numpy(np.array(fitted)).permute(2, 0, 1)


def describe(listing: Listing, size: tuple[int, int], framing: Framing = WHOLE_IMAGES) -> str:
    """Where the images are from, how many, how stored, at which size and how cropped: one line."""
    height, width = size
    cropped = f", the central {framing.crop_pct:.1%} of each side" if framing.crop_pct < 1 else ""
    return (
        f"{listing.title}: {len(listing):,} images of {len(listing.classes)} classes, stored as {listing.stored_as}, "
        f"at {width}×{height} pixels{cropped}"
        + (f", {len(listing.left_out)} damaged ones left out" if listing.left_out else "")
    )
