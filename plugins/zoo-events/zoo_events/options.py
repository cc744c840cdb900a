"""Options of data that are made of other data, as in `scan:16:photos/`."""

from __future__ import annotations

from contextlib import suppress
from os.path import exists, expanduser

import numpy as np

from zoo.data import RGB, ImageDataset, dataset_names
from zoo.errors import InputError
from zoo_events.frames import Array

MOST_FRAMES = 1024
"""T that the encoder `frames` takes at most: the pixels of a CIFAR image."""


def split_options(rest: str) -> tuple[list[str], str]:
    """Split `16:photos/` into its options and DATA, which is a path that exists, or begins with a data set's name."""
    options: list[str] = []
    head, colon, tail = rest.partition(":")
    while colon and head not in dataset_names() and not exists(expanduser(rest)):
        options.append(head)
        rest = tail
        head, colon, tail = rest.partition(":")
    return options, rest


def first_image(data: ImageDataset) -> Array:
    """Return the first sound image of `data`, (H, W, 3); raises `InputError` for frames, or without one."""
    if data.axes != RGB:
        raise InputError(f"{data.where} has frames already; valid: still images")
    for row in range(len(data)):
        with suppress(InputError):  # counted when it is decoded
            return np.asarray(data.item(row))
    raise InputError(f"{data.where} has no sound images")
