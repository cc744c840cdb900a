"""Progress of long work on stderr, by rich: a bar in a terminal, nothing elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from zoo.errors import printable

Advance = Callable[[int], None]
"""Called with the number of items that were just done."""

LONG = 2000  # the fewest images that show a bar


def silent(items: int) -> None:
    """Advance no bar."""


@contextmanager
def progress(doing: str, total: int | None = None, *, visible: bool = True) -> Iterator[Advance]:
    """Show a bar on stderr while the block runs, if that is a terminal and this is the first process of a machine."""
    if not (visible and sys.stderr.isatty() and os.environ.get("LOCAL_RANK", "0") == "0"):
        yield silent
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # What is printed meanwhile goes above the bar, but only if it goes to the terminal too.
    to_terminal = sys.stdout.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=to_terminal) as bar:
        task = bar.add_task(escape(printable(doing)), total=total)
        yield lambda items: bar.advance(task, items)
