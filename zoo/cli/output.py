"""Output of commands: lines, tables, errors; no torch here."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from zoo.errors import printable

if TYPE_CHECKING:
    from rich.console import Console


def say(*texts: str, sep: str = " ", file: TextIO | None = None, flush: bool = False) -> None:
    """Print texts, each made `printable`, with `sep` between them and a line end."""
    print(sep.join(map(printable, texts)), file=file, flush=flush)


def complain(message: str) -> None:
    """Print `error: …` as one line on stderr."""
    say("error:", in_one_line(message), file=sys.stderr, flush=True)


def in_one_line(message: str) -> str:
    """Join the lines of a message."""
    return " ".join(message.split())


def in_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout.isatty()


def rich_console() -> Console:
    """Make a console that highlights nothing by itself."""
    from rich.console import Console

    return Console(highlight=False)


def print_rows(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print rows of the same keys: JSON, one object a line, or a table whose columns are the keys."""
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, header_style="", show_edge=False, padding=0, pad_edge=False)  # the box has a space
    for column in rows[0] if rows else ():
        numbers = all(str(row[column])[:1] in ("", *"0123456789") for row in rows)
        style = "bold" if column == "name" else ""
        table.add_column(column, style, no_wrap=numbers, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if value is None else printable(str(value))) for value in row.values()))
    rich_console().print(table)


def first_of(names: Sequence[str], most: int = 10) -> str:
    """Write the first names, and how many more there are."""
    return ", ".join(names[:most]) + ("" if len(names) <= most else f" and {len(names) - most:,} more")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Write a number with its noun: `1 component`, `2 components`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
