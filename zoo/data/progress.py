"""A bar for long work on images."""

from __future__ import annotations

import os
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LONG = 2000
"""Images from which on a progress bar is worth its lines."""


def progress_bar(images: int | None) -> Progress:
    """A bar on stderr for long work, in a terminal and in the first process alone; None where nobody knows how long."""
    long = images is None or images >= _LONG
    shown = long and sys.stderr.isatty() and os.environ.get("LOCAL_RANK", "0") == "0"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not shown)
