"""I2E: events of a still image, as a camera would see it that makes eight small movements (arXiv:2511.08065).

With V = max(R, G, B), D_t(y, x) = V(y + b_t) − V(y + a_t), where a_t and b_t are two of nine neighbouring places, and
r the largest V less the smallest, a pixel has an ON event at timestep t if D_t ≥ ratio · r, and an OFF event if
−D_t ≥ ratio · r. Pixels outside of the image are those of its edge. The movements and their order are those of the
authors' evaluation. An image of one level has no events here; in the authors' code it has all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from zoo.contracts import MAX_IMAGE_SIZE, Dataset
from zoo.data import RGB, DataOptions, ImageDataset, open_parts
from zoo.errors import InputError, check_count
from zoo_events.frames import Array

RATIO = 0.12
"""The authors' for photographs of 224 pixels; for small images that they enlarged, 0.07."""
MOVEMENTS = (
    ((1, 1), (0, -1)),
    ((0, -1), (-1, 1)),
    ((-1, 1), (1, 0)),
    ((1, 0), (-1, -1)),
    ((0, 0), (0, 1)),
    ((0, 0), (-1, 0)),
    ((0, 0), (-1, 1)),
    ((0, 0), (-1, -1)),
)
"""(row, column) of a_t and of b_t."""
_REST = re.compile(r"(?:(0?\.\d+|1):)?(?:(\d+):)?(.+)")


def image_to_events(pixels: Array, ratio: float = RATIO) -> Array:
    """Turn an image (H, W, 3) uint8 into events (8, 2, H, W) uint8: 255 for an event, ON before OFF."""
    height, width = pixels.shape[:2]
    value = np.pad(pixels.max(2).astype(np.int16), 1, mode="edge")
    least = max(ratio * float(value.max() - value.min()), 1.0)

    def seen(place: tuple[int, int]) -> Array:
        row, column = place[0] + 1, place[1] + 1
        return value[row : row + height, column : column + width]

    changes = np.stack([seen(after) - seen(before) for before, after in MOVEMENTS])
    return np.stack((changes >= least, -changes >= least), axis=1).astype(np.uint8) * 255


class EventsOfImages(Dataset):
    """`i2e:DATA`, `i2e:RATIO:DATA` or `i2e:RATIO:SIDE:DATA`: any data of still images, eight frames an image.

    With SIDE an image is first brought to so many pixels a side, bilinear, as the authors do with CIFAR's.
    """

    api_version = 1

    def open(self, rest: str, wanted: Sequence[str], root: Path) -> Mapping[str, ImageDataset]:
        stated = _REST.fullmatch(rest)
        if stated is None:
            raise InputError("i2e makes events of images: name them behind a colon, as in i2e:photos/ or i2e:cifar10")
        ratio, source = float(stated[1] or RATIO), stated[3]
        side = None if stated[2] is None else check_count("pixels a side of i2e", int(stated[2]), 1, MAX_IMAGE_SIZE)
        parts = open_parts(source, wanted, DataOptions(root=root))
        return {split: _events_of(data, ratio, side) for split, data in parts.items()}


def _events_of(data: ImageDataset, ratio: float, side: int | None) -> ImageDataset:
    if data.axes != RGB:
        raise InputError(f"{data.where} has frames already, and I2E makes them of still images")

    def events(item: Image.Image | Array) -> Array:
        image = cast(Image.Image, item)
        return image_to_events(np.asarray(image if side is None else resize(image, side)), ratio)

    where = f"I2E of {data.where}, ratio {ratio:g}" + ("" if side is None else f", {side} pixels")
    return data.transformed(events, (len(MOVEMENTS), 2), where)


def resize(image: Image.Image, side: int) -> Image.Image:
    """Bring an image to `side` × `side` pixels, bilinear."""
    return image.resize((side, side), Image.Resampling.BILINEAR)
