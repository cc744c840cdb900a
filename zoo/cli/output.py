"""What the command line prints: tables, a model's particulars, predictions, errors; no torch here."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TextIO

from zoo.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

    from zoo.inference.predict import Failure, Prediction


def say(*texts: str, sep: str = " ", file: TextIO | None = None, flush: bool = False) -> None:
    """Print texts, each `printable`, between separators, and end the line.

    Args:
        texts: of anybody.
        sep: the program's own: a blank, a tab, or a line end.
        file: standard output by default.
        flush: whether it must be seen at once.
    """
    print(sep.join(map(printable, texts)), file=file, flush=flush)


def in_units(value: int | float | None) -> str:
    """Three digits and a unit: `380k`, `29.5M`, `1.81G`; empty for None."""
    if value is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            scaled = value / size
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{unit}"
    return f"{value:g}"


_TELL_OF_TRITON = ("torch._library.triton", "torch.utils.flop_counter")
"""torch's loggers that warn where Triton, a compiler for GPUs, is missing."""


@contextmanager
def without_word_of_triton() -> Iterator[None]:
    """Inside, torch does not warn that Triton is missing, which nothing here needs; it says everything else."""
    loggers = [logging.getLogger(name) for name in _TELL_OF_TRITON]
    for logger in loggers:
        logger.addFilter(_is_not_of_triton)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_is_not_of_triton)


def _is_not_of_triton(record: logging.LogRecord) -> bool:
    return not record.getMessage().lower().startswith(("triton not available", "triton not found"))


def complain(message: str) -> None:
    """`error: …` on one line of stderr; of a traceback inside the message, its last line."""
    say("error:", in_one_line(message), file=sys.stderr, flush=True)


def in_one_line(message: str) -> str:
    """A message without line ends; of a traceback in it the last line, which says by itself what happened."""
    before, traceback, after = message.partition("Traceback (most recent call last):")
    if traceback:
        message = f"{before}{after.strip().splitlines()[-1]}"
    return " ".join(message.split())


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

    table = Table(box=SIMPLE_HEAD, header_style="", show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    words = [column for column in (rows[0] if rows else ()) if column != "name" and not _of_numbers(column, rows)]
    for column in rows[0] if rows else ():
        first = column == "name"
        # A number over two lines cannot be read. A name is folded only where no words can be.
        whole = bool(words) if first else column not in words
        justify: Literal["left", "right"] = "left" if first or column in words else "right"
        table.add_column(column, no_wrap=whole, overflow="fold", style="bold" if first else "", justify=justify)
    for row in rows:
        table.add_row(*(Text("" if value is None else printable(str(value))) for value in row.values()))
    rich_console().print(table)


def _of_numbers(column: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    return all(isinstance(row[column], str) and row[column][:1] in _DIGITS for row in rows)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 component`, `2 components`: a number with its noun, whose plural is made by an s unless it is given."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


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
