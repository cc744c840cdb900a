"""A window that moves over a still image: frames that nearly agree with their neighbours.

The window is as large as the image, which goes on beyond its edges as its own reflection, so that a network for the
image takes the frames too. Frame 0 is the image itself. The window moves on by `speed` pixels a frame; its heading,
any at first, turns by a normal number of `TURN` radians a frame. Places are rounded to whole pixels, so every frame
holds pixels of the image, exactly; a speed below 1 repeats frames. All draws follow from the image's name.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from zoo.contracts import Dataset
from zoo.data import DataOptions, ImageDataset, open_parts
from zoo.errors import InputError, check_count
from zoo_events.frames import Array
from zoo_events.options import MOST_FRAMES, first_image, split_options

SPEED = 1.0
TIMESTEPS = 8
TURN = 0.2
"""Standard deviation of a turn, in radians a frame."""


def image_to_pan(pixels: Array, speed: float, timesteps: int, seed: int) -> Array:
    """Move a window over an image: (H, W, 3) uint8 → frames (T, 3, H, W).

    Args:
        pixels: the image.
        speed: pixels a frame, 0 or more; at 0 all frames are the image.
        timesteps: T.
        seed: of the path.
    """
    height, width = pixels.shape[:2]
    places = pan_path(speed, timesteps, seed)
    rows = _reflected(places[:, :1] + np.arange(height), height)
    columns = _reflected(places[:, 1:] + np.arange(width), width)
    return pixels.transpose(2, 0, 1)[:, rows[:, :, None], columns[:, None, :]].transpose(1, 0, 2, 3)


def pan_path(speed: float, timesteps: int, seed: int) -> Array:
    """Draw the places of the window, in rows and columns from the image: (T, 2) whole numbers, the first (0, 0)."""
    draw = np.random.default_rng(seed)
    heading = draw.uniform(0, 2 * math.pi) + TURN * draw.standard_normal(timesteps - 1).cumsum()
    steps = speed * np.stack((np.sin(heading), np.cos(heading)), axis=1)
    return np.rint(np.concatenate((np.zeros((1, 2)), steps.cumsum(0)))).astype(np.int64)


def _reflected(places: Array, side: int) -> Array:
    """Fold places outside 0 … side − 1 back in; the edge itself is not repeated."""
    there_and_back = max(2 * (side - 1), 1)
    places = places % there_and_back
    return np.minimum(places, there_and_back - places) if side > 1 else places


class PannedImages(Dataset):
    """`pan:DATA`, `pan:SPEED:DATA` or `pan:SPEED:T:DATA`: any still images, seen by a window that moves.

    SPEED is in pixels a frame, at most the shorter side of the first image.
    """

    api_version = 1

    def open(self, rest: str, wanted: Sequence[str], root: Path) -> Mapping[str, ImageDataset]:
        speed, timesteps, source = _read_options(rest)
        parts = open_parts(source, wanted, DataOptions(root=root))
        most = min(first_image(next(iter(parts.values()))).shape[:2])
        if not 0 <= speed <= most:
            raise InputError(f"SPEED of pan is {speed:g}; valid: 0 to {most} pixels a frame, the image's shorter side")
        return {split: _panned(data, speed, timesteps) for split, data in parts.items()}


def _read_options(rest: str) -> tuple[float, int, str]:
    """Read SPEED:T:DATA."""
    options, source = split_options(rest)
    valid = "SPEED in pixels a frame and T, a whole number, before DATA, as in pan:1.5:8:photos/"
    if not source or len(options) > 2:
        raise InputError(f"pan takes {valid}, not {rest!r}")
    try:
        speed = float(options[0]) if options else SPEED
        timesteps = int(options[1]) if len(options) == 2 else TIMESTEPS
    except ValueError:
        raise InputError(f"pan takes {valid}, not {':'.join(options)!r} before {source!r}") from None
    return speed, check_count("T of pan", timesteps, 1, MOST_FRAMES), source


def _panned(data: ImageDataset, speed: float, timesteps: int) -> ImageDataset:
    """Return the frames of every image, and of every mirrored one, along the path of its name."""

    def panned(pixels: Callable[[int], Any]) -> Callable[[int], Any]:
        return lambda row: image_to_pan(pixels(row), speed, timesteps, seed_of(data.names[row]))

    still = data.transformed(np.asarray, data.axes, f"{data.where}, panned at {speed:g} pixels a frame")
    assert still.mirrored is not None
    return replace(still, stored=panned(still.stored), mirrored=panned(still.mirrored), axes=(timesteps, 3))


def seed_of(name: str) -> int:
    """Return the seed of an image's path."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="backslashreplace")).digest()[:8], "big")
