"""One bar for the long work of an answer: whatever takes long inside it uses its line, instead of one of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_LONG = 2000
"""Images from which on a progress bar is worth its lines."""

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

    token = _SHOWN.set(bar)
    try:
        yield begin, lambda done: bar.advance(task, done)
    finally:
        _SHOWN.reset(token)
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
    outer.start()
    try:
        yield outer
    finally:
        known = {task for task, _ in before}
        for added in [task.id for task in outer.tasks if task.id not in known]:
            outer.remove_task(added)
        for task, visible in before:
            outer.update(task, visible=visible)


@final
class _Speed(ProgressColumn):
    """How many items a second takes, of a task that has a unit."""

    def render(self, task: Task) -> Text:
        unit = task.fields.get("unit")
        return Text("" if unit is None or task.speed is None else f"{task.speed:.0f} {unit}/s")


def _make(shown: bool, redirect_stdout: bool = True) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeRemainingColumn())
    console = Console(stderr=True)
    # What is printed meanwhile goes above the bar, but only where it goes to the terminal itself.
    return Progress(*columns, console=console, transient=True, disable=not shown, redirect_stdout=redirect_stdout)
