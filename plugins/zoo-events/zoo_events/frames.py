"""Events summed over short times: frames (T, 2, H, W) of bytes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from tonic.transforms import ToFrame

Array = np.ndarray[Any, Any]

FULL = 5
"""Events of a pixel in one frame from which on it is as bright as can be; fewer are brighter in equal steps."""


def to_frames(events: Array, width: int, height: int, count: int, by: Literal["events", "time"] = "events") -> Array:
    """Sum events over `count` parts of a recording: → (count, 2, H, W) uint8.

    Args:
        events: structured, with `x`, `y`, `t` in microseconds and `p` of 0 or 1, in the order of time.
        width, height: pixels of the sensor; events outside are left out.
        count: T.
        by: parts hold equally many events, or last equally long.

    Raises:
        ValueError: there are fewer events than parts.
    """
    inside = (events["x"] < width) & (events["y"] < height)
    events = events[inside]
    if len(events) < count:
        raise ValueError(f"it holds {len(events)} events, fewer than {count} frames")
    split = {"n_event_bins": count} if by == "events" else {"n_time_bins": count}
    counts = ToFrame(sensor_size=(width, height, 2), **split)(events)
    return (np.minimum(counts, FULL) * 255 // FULL).astype(np.uint8)
