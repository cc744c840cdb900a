"""Events summed over short times: frames (T, 2, H, W) of bytes."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np

Array = np.ndarray[Any, Any]

FULL = 5
"""Events of a pixel in one frame from which on it is as bright as can be; fewer are brighter in equal steps."""


def to_frames(events: Array, width: int, height: int, count: int, by: Literal["events", "time"] = "events") -> Array:
    """Sum events over `count` parts of a recording: → (count, 2, H, W) uint8.

    Parts are those of tonic's `ToFrame`; what is left over at the end is in none.

    Args:
        events: structured, with `x`, `y`, `t` in any unit and `p` of 0 or 1, or of −1 or 1, in the order of time.
        width, height: pixels of the sensor; events outside are left out.
        count: T.
        by: parts hold equally many events, or last equally long.

    Raises:
        ValueError: there are fewer events than parts, time falls or stands still, or a polarity is neither.
    """
    inside = (events["x"] >= 0) & (events["x"] < width) & (events["y"] >= 0) & (events["y"] < height)
    events = events[inside]
    if len(events) < count:
        raise ValueError(f"it holds {len(events)} events, fewer than {count} frames")
    if not (events["t"][1:] >= events["t"][:-1]).all():
        raise ValueError("time falls from one event to the next; sort its events by time")
    part = np.arange(len(events)) // (len(events) // count) if by == "events" else _parts_of_time(events["t"], count)
    place = np.stack((part, _channels(events["p"]), events["y"], events["x"])).astype(np.int64)[:, part < count]
    shape = (count, 2, height, width)
    counts = np.bincount(np.ravel_multi_index(tuple(place), shape), minlength=int(np.prod(shape))).reshape(shape)
    return (np.minimum(counts, FULL) * 255 // FULL).astype(np.uint8)


def _parts_of_time(t: Array, count: int) -> Array:
    """Return the number of the part, of `count` that last equally long, in which each time lies."""
    length = (t[-1] - t[0]) / count
    if t.dtype.kind != "f":
        length = (t[-1] - t[0]) // count
    if not length > 0:
        raise ValueError(f"its times, from {t[0]} to {t[-1]}, cannot be divided into {count} frames")
    return cast(Array, (t - t[0]) // length)


def _channels(polarity: Array) -> Array:
    """Map polarities of {0, 1} or {−1, 1} to channels 0 and 1."""
    kinds = set(np.unique(polarity).tolist())
    if not (kinds <= {0, 1} or kinds <= {-1, 1}):
        raise ValueError(f"polarities are {sorted(kinds)[:5]}; valid: 0 and 1, or -1 and 1")
    return polarity > 0
