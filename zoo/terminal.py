"""Text on its way to a terminal: what would move the cursor, hide or reorder text is written out, not sent.

Labels, licences, names of files and the like come from strangers; a terminal obeys what is in them. Every command
prints by `say`, or shows what `printable` gives.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_HARMLESS = frozenset("\u00a0\u202f\u3000\u200c\u200d")
"""Spaces of French and Chinese, and the joiners that Persian and emoji are written with."""


def printable(text: str) -> str:
    """One line that shows as what it holds: ESC is `\\x1b`, a line end `\\n`, a bidi override `\\u202e`.

    Lone surrogates, as Python keeps undecodable bytes of file names, are written out too, so that any stream takes it.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _HARMLESS else _written_out(c) for c in text)


def say(*texts: str, sep: str = " ", file: TextIO | None = None, flush: bool = False) -> None:
    """Print texts, each `printable`, between separators, and end the line.

    Args:
        texts: of anybody.
        sep: the program's own: a blank, a tab, or a line end.
        file: standard output by default.
        flush: whether it must be seen at once.
    """
    print(sep.join(map(printable, texts)), file=file, flush=flush)


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


def in_units(value: int | float | None) -> str:
    """Three digits and a unit: `380k`, `29.5M`, `1.81G`; empty for None."""
    if value is None:
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            scaled = value / size
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f}{unit}"
    return f"{value:g}"


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
