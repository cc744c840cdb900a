"""A still image line by line, as a line camera sees it: the frames together are the image.

Frame t of T shows the lines of its share, in their places, and is black elsewhere: frames of the zoo are square, as
its figures are of square images. In the order `pixels` a frame is one pixel, row after row, T = H · W.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from zoo.contracts import Dataset
from zoo.data import DataOptions, ImageDataset, open_parts
from zoo.errors import InputError, check_count, suggest
from zoo_events.frames import Array
from zoo_events.options import MOST_FRAMES, first_image, split_options

ORDERS = ("rows", "columns", "pixels")


def count_lines(pixels: Array, order: str) -> int:
    """Count the rows, columns or pixels of an image (H, W, 3)."""
    height, width = pixels.shape[:2]
    return {"rows": height, "columns": width, "pixels": height * width}[order]


def image_to_scan(pixels: Array, order: str, timesteps: int) -> Array:
    """Divide an image (H, W, 3) uint8 into frames (T, 3, H, W) that sum to it, or into its pixels (T, 3, 1, 1).

    Raises:
        InputError: it has fewer lines than T, or its pixels are not T.
    """
    lines = count_lines(pixels, order)
    if lines < timesteps or (order == "pixels" and lines != timesteps):
        height, width = pixels.shape[:2]
        raise InputError(f"an image of {height}×{width} has {lines} {order}, and is to become {timesteps} frames")
    if order == "pixels":
        return pixels.reshape(timesteps, 3, 1, 1)
    planes = pixels.transpose(2, 0, 1)
    frames = np.zeros((timesteps, *planes.shape), np.uint8)
    for frame, share in zip(frames, np.array_split(np.arange(lines), timesteps), strict=True):
        if order == "rows":
            frame[:, share] = planes[:, share]
        else:
            frame[..., share] = planes[..., share]
    return frames


class ScannedImages(Dataset):
    """`scan:DATA`, `scan:ORDER:DATA`, `scan:T:DATA` or `scan:ORDER:T:DATA`: any still images, line by line.

    ORDER is one of `ORDERS`; without T there are as many frames as the first image has lines.
    """

    api_version = 1

    def open(self, rest: str, wanted: Sequence[str], root: Path) -> Mapping[str, ImageDataset]:
        order, stated, source = _read_options(rest)
        parts = open_parts(source, wanted, DataOptions(root=root))
        first = first_image(next(iter(parts.values())))
        frames = count_lines(first, order) if stated is None else stated
        timesteps = check_count(f"T of scan:{order}", frames, 1, MOST_FRAMES)
        image_to_scan(first, order, timesteps)  # so that a T which does not fit is told at once
        return {split: _scanned(data, order, timesteps) for split, data in parts.items()}


def _read_options(rest: str) -> tuple[str, int | None, str]:
    """Read ORDER:T:DATA as an order, T, None if it is not given, and DATA."""
    options, source = split_options(rest)
    order = options.pop(0) if options and not options[0].isdecimal() else ORDERS[0]
    if order not in ORDERS:
        raise InputError(f"scan: {order!r} is neither an ORDER nor data{suggest(order, ORDERS)}")
    if not source or len(options) > 1 or not all(option.isdecimal() for option in options):
        raise InputError(f"scan takes ORDER:T:DATA, T a whole number, as in scan:rows:16:photos/, not {rest!r}")
    return order, int(options[0]) if options else None, source


def _scanned(data: ImageDataset, order: str, timesteps: int) -> ImageDataset:
    def scan(item: Image.Image | Array) -> Array:
        return image_to_scan(np.asarray(item), order, timesteps)

    return data.transformed(scan, (timesteps, 3), f"{data.where}, scanned by {order} in {timesteps} frames")
