"""Frames without time: their mean, for the control that sees still images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from zoo.contracts import Dataset
from zoo.data import RGB, DataOptions, ImageDataset, open_parts
from zoo.errors import InputError
from zoo_events.frames import Array


class SummedFrames(Dataset):
    """`summed:DATA`: frames (T, C, H, W) as one image (C, H, W), their mean rounded to bytes."""

    api_version = 1

    def open(self, rest: str, wanted: Sequence[str], root: Path) -> Mapping[str, ImageDataset]:
        if not rest:
            raise InputError("summed takes frames: name them behind a colon, as in summed:i2e:photos/")
        parts = open_parts(rest, wanted, DataOptions(root=root))
        return {split: _summed(data) for split, data in parts.items()}


def _summed(data: ImageDataset) -> ImageDataset:
    if len(data.axes) != 2:
        raise InputError(f"{data.where} has no frames to sum")
    axes = data.axes[1:]

    def mean(frames: Image.Image | Array) -> Array:
        levels = cast(Array, np.rint(np.asarray(frames).mean(0)).astype(np.uint8))
        return levels.transpose(1, 2, 0) if axes == RGB else levels  # an RGB image lies as (H, W, 3)

    return data.transformed(mean, axes, f"the mean of frames of {data.where}")
