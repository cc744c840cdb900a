"""Data of event cameras for has8-zoo: recordings by name, events of still images, and answers over time.

Each public name is imported when it is first used: to read a name of the family `i2e` takes no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo_events.deltas import count_changes as count_changes
    from zoo_events.frames import to_frames as to_frames
    from zoo_events.i2e import image_to_events as image_to_events
    from zoo_events.pan import image_to_pan as image_to_pan
    from zoo_events.picture import answers_over_time as answers_over_time
    from zoo_events.picture import draw_answers as draw_answers
    from zoo_events.scan import image_to_scan as image_to_scan

_HOMES = {
    "answers_over_time": "picture",
    "count_changes": "deltas",
    "draw_answers": "picture",
    "image_to_events": "i2e",
    "image_to_pan": "pan",
    "image_to_scan": "scan",
    "to_frames": "frames",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'zoo_events' has no attribute {name!r}")
    return getattr(importlib.import_module(f"zoo_events.{_HOMES[name]}"), name)
