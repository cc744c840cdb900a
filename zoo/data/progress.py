"""One bar for the long work of an answer: whatever takes long inside it uses its line, instead of one of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import final

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from zoo.terminal import SHOWN_DOWNLOADS, printable

_LONG = 2000
"""Images from which on a progress bar is worth its lines."""

_BYTES = "bytes"
"""The unit of a download."""

_SHOWN: ContextVar[Progress | None] = ContextVar("the bar of the answer that is worked on", default=None)


@contextmanager
def bar_of_answer(
    visible: bool, doing: str, unit: str | None = "images"
) -> Iterator[tuple[Callable[[int], None], Callable[[int], None]]]:
    """A bar on stderr, in a terminal alone; `progress_bar` inside takes its line.

    Args:
        visible: whether there is one at all.
        doing: what it says.
        unit: of which it tells how many a second takes; None to leave that out.

    Yields:
        What to call with the number of items before the first, and what to call with the number of those just done.
    """
    bar = _make(visible and sys.stderr.isatty(), redirect_stdout=sys.stdout.isatty())
    task = bar.add_task(doing, visible=False, total=None, unit=unit)

    def begin(items: int) -> None:
        bar.update(task, total=items, visible=True)
        bar.start()

    shown, downloads = _SHOWN.set(bar), SHOWN_DOWNLOADS.set(_download)
    try:
        yield begin, lambda done: bar.advance(task, done)
    finally:
        SHOWN_DOWNLOADS.reset(downloads)
        _SHOWN.reset(shown)
        bar.stop()


@contextmanager
def progress_bar(images: int | None) -> Iterator[Progress]:
    """A bar for work on so many images, where that is long, in the first process; None where nobody knows how many.

    Inside `bar_of_answer` it is that one, whose own words and figures are hidden meanwhile.
    """
    long = images is None or images >= _LONG
    outer = _SHOWN.get()
    if outer is None or not long:
        is_first = os.environ.get("LOCAL_RANK", "0") == "0"
        with _make(long and sys.stderr.isatty() and is_first) as bar:
            yield bar
        return
    before = [(task.id, task.visible) for task in outer.tasks]
    for task, _ in before:
        outer.update(task, visible=False)
    begun = outer.live.is_started
    outer.start()
    try:
        yield outer
    finally:
        known = {task for task, _ in before}
        for added in [task.id for task in outer.tasks if task.id not in known]:
            outer.remove_task(added)
        for task, visible in before:
            outer.update(task, visible=visible)
        if not begun:
            outer.stop()  # what is printed from here on needs no line of a bar below it


@contextmanager
def _download(file: str, size: int) -> Iterator[Callable[[int], None]]:
    """A line for a file of so many bytes."""
    with progress_bar(None) as bar:
        task = bar.add_task(f"downloading {escape(printable(file))}", total=size, unit=_BYTES)
        yield lambda count: bar.advance(task, count)


@final
class _Done(ProgressColumn):
    """How many items are done, and of how many; of bytes in kB, MB or GB."""

    def __init__(self) -> None:
        super().__init__()
        self._items, self._bytes = MofNCompleteColumn(), DownloadColumn()

    def render(self, task: Task) -> Text:
        return (self._bytes if task.fields.get("unit") == _BYTES else self._items).render(task)


@final
class _Speed(ProgressColumn):
    """How many items a second takes, of a task that has a unit."""

    def render(self, task: Task) -> Text:
        unit = task.fields.get("unit")
        if unit is None or task.speed is None:
            return Text("")
        return Text(f"{decimal(int(task.speed))}/s" if unit == _BYTES else f"{task.speed:.0f} {unit}/s")


def _make(shown: bool, redirect_stdout: bool = True) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), _Done(), _Speed(), TimeRemainingColumn())
    console = Console(stderr=True)
    # What is printed meanwhile goes above the bar, but only where it goes to the terminal itself.
    return Progress(*columns, console=console, transient=True, disable=not shown, redirect_stdout=redirect_stdout)
