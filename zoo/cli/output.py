"""What the command line prints: tables, a model's particulars, predictions, errors; no torch here."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from zoo.terminal import Progress, printable, say

if TYPE_CHECKING:
    from rich.console import Console

    from zoo.inference.predict import Failure, Prediction


def complain(message: str) -> None:
    """`error: …` on one line of stderr; of a traceback inside the message, its last line."""
    before, traceback, after = message.partition("Traceback (most recent call last):")
    if traceback:
        message = f"{before}{after.strip().splitlines()[-1]}"
    say("error:", " ".join(message.split()), file=sys.stderr, flush=True)


def in_terminal() -> bool:
    """Whether a reader, not a program, gets standard output."""
    return sys.stdout.isatty()


def rich_console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


_DIGITS = ("", *"0123456789")
"""What the figures of a column begin with."""

# Tables ---------------------------------------------------------------------------------------------------------------


def print_rows(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Rows of the same keys: JSON, one object a line, or a table whose columns are the keys."""
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in rows[0] if rows else ():
        first = column == "name"
        number = all(isinstance(row[column], str) and row[column][:1] in _DIGITS for row in rows)
        justify: Literal["left", "right"] = "right" if number and not first else "left"
        table.add_column(column, no_wrap=first, overflow="fold", style="bold" if first else "", justify=justify)
    for row in rows:
        table.add_row(*(Text("" if value is None else printable(str(value))) for value in row.values()))
    rich_console().print(table)


# Predictions ----------------------------------------------------------------------------------------------------------


def print_answer(answer: Prediction | Failure, model: str, as_json: bool) -> bool:
    """Print what became of one file, as soon as it is known; whether it was classified.

    A failure goes to stderr, or with `as_json` to stdout as an object with `file` and `error`.
    """
    from zoo.inference.predict import Failure

    failed = isinstance(answer, Failure)
    if as_json:
        print(json.dumps(_as_object(answer, model)), flush=True)
    elif isinstance(answer, Failure):
        complain(answer.error)
    else:
        lines = [f"{100 * probability:7.1f} %  {label}" for label, probability in answer.ranked]
        say("", str(answer.file), *lines, sep="\n", flush=True)
    return not failed


def _as_object(answer: Prediction | Failure, model: str) -> dict[str, Any]:
    from zoo.inference.predict import Failure

    if isinstance(answer, Failure):
        return {"file": str(answer.file), "error": answer.error}
    ranked = [{"label": label, "probability": probability} for label, probability in answer.ranked]
    return {"file": str(answer.file), "model": model, "predictions": ranked}


@contextmanager
def progress(total: int, visible: bool, doing: str = "classifying", unit: str | None = "images") -> Iterator[Progress]:
    """A bar on stderr, in a terminal alone; yields what to call with the number of items that are done.

    With a `unit` it tells how many of them a second takes.
    """
    if not (visible and sys.stderr.isatty()):
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    speed = TextColumn("{task.fields[speed]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())

    # What is printed meanwhile goes above the bar, but only where it goes to the terminal itself.
    with Bar(*columns, console=Console(stderr=True), transient=True, redirect_stdout=in_terminal()) as bar:
        task = bar.add_task(doing, total=total, speed="")

        def advance(done: int) -> None:
            bar.advance(task, done)
            finished_per_second = bar.tasks[task].speed
            if unit and finished_per_second is not None:
                bar.update(task, speed=f"{finished_per_second:.0f} {unit}/s")

        yield advance
