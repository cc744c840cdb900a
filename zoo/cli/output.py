"""What the command line prints: tables, a model's particulars, predictions, errors; no torch here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from zoo.terminal import printable, say

if TYPE_CHECKING:
    from rich.console import Console

    from zoo.catalog.schema import WeightRecord
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
        table.add_column(column, no_wrap=first, overflow="fold", style="bold" if first else "")
    for row in rows:
        table.add_row(*(Text("" if value is None else printable(str(value))) for value in row.values()))
    rich_console().print(table)


def weights_in_short(records: Sequence[WeightRecord]) -> str:
    """Tags with their top-1: `cifar10 71.2 %`."""
    known = [(record.tag, record.metrics.get("top1")) for record in records]
    return ", ".join(tag if top1 is None else f"{tag} {top1:.1f} %" for tag, top1 in known)


# A model's particulars ------------------------------------------------------------------------------------------------


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
def progress(total: int, visible: bool, doing: str = "classifying") -> Iterator[Callable[[], None]]:
    """A bar on stderr, in a terminal alone; yields what to call after each image."""
    if not (visible and sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    # What is printed meanwhile goes above the bar, but only where it goes to the terminal itself.
    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=in_terminal()) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda: bar.advance(task)
