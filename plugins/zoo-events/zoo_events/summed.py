"""Frames with less time, or none, for controls: means of frames that follow each other, or these as channels.

`summed:DATA` is one image (C, H, W), the mean of all frames (T, C, H, W); `stacked:DATA` one of T·C channels, of which
no time is lost. `summed:N:DATA` and `stacked:N:DATA` are N frames, each made of T/N frames that way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from zoo.contracts import Dataset
from zoo.data import RGB, DataOptions, ImageDataset, open_parts
from zoo.errors import InputError, check_count
from zoo_events.frames import Array
from zoo_events.options import MOST_FRAMES, split_options


class SummedFrames(Dataset):
    """`summed:DATA` or `summed:N:DATA`: means of frames, rounded to bytes."""

    api_version = 1

    def open(self, rest: str, wanted: Sequence[str], root: Path) -> Mapping[str, ImageDataset]:
        return _open_combined("summed", _mean, rest, wanted, root)


class StackedFrames(Dataset):
    """`stacked:DATA` or `stacked:N:DATA`: frames that follow each other as channels."""

    api_version = 1

    def open(self, rest: str, wanted: Sequence[str], root: Path) -> Mapping[str, ImageDataset]:
        return _open_combined("stacked", np.concatenate, rest, wanted, root)


def _open_combined(
    name: str, combine: Callable[[Array], Array], rest: str, wanted: Sequence[str], root: Path
) -> Mapping[str, ImageDataset]:
    """Open what stands behind the colon, and combine its frames; raises `InputError` if it has none, or too few."""
    options, source = split_options(rest)
    if not source or len(options) > 1 or not all(option.isdecimal() for option in options):
        raise InputError(f"{name} takes frames, as in {name}:i2e:photos/ or {name}:2:i2e:photos/, not {rest!r}")
    count = check_count(f"N of {name}:N", int(options[0]), 1, MOST_FRAMES) if options else None
    parts = open_parts(source, wanted, DataOptions(root=root))
    for data in parts.values():
        if len(data.axes) != 2:
            raise InputError(f"{data.where} has no frames, which {name} takes")
        if count is not None and data.axes[0] % count:
            raise InputError(f"{name}:{count} cannot divide {data.axes[0]} frames evenly")
    return {split: _combined(data, combine, name, count) for split, data in parts.items()}


def _combined(data: ImageDataset, combine: Callable[[Array], Array], name: str, count: int | None) -> ImageDataset:
    timesteps, channels = data.axes
    share = np.zeros((timesteps // (count or 1), channels, 1, 1), np.uint8)
    made = len(combine(share))
    axes = (made,) if count is None else (count, made)

    def combined(item: Image.Image | Array) -> Array:
        frames = np.asarray(item)
        if count is not None:
            return np.stack([combine(share) for share in np.split(frames, count)])
        levels = combine(frames)
        return levels.transpose(1, 2, 0) if axes == RGB else levels  # an RGB image lies as (H, W, 3)

    return data.transformed(combined, axes, f"{name} frames of {data.where}")


def _mean(frames: Array) -> Array:
    return cast(Array, np.rint(frames.mean(0)).astype(np.uint8))
