"""A record in the text of a registry.yaml: one field of it, or all of it; other lines stay as they are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zoo.catalog.records import WeightRecord
from zoo.errors import InputError


def put_block(text: str, record: WeightRecord, key: str, lines: Sequence[str] = (), value: object = None) -> str:
    """Set one field of a record in the text of a registry.yaml; all other lines, comments too, stay as they are.

    Args:
        text: of the file.
        record: one that it lists.
        key: a field of the record; it takes the place of the one that is there.
        lines: that follow the key, indented as if the key were not.
        value: that stands beside the key, of a field without lines.

    Raises:
        InputError: the record does not begin with variant and tag, one a line.
    """
    rows = text.splitlines()
    first, last = _find(rows, record)
    indent = _indent(rows[first])
    written = [f"{indent}{line}" for line in (f"{key}:" if value is None else f"{key}: {value}", *lines)]
    return _join(text, [*rows[:first], *_without(rows[first:last], key), *written, *rows[last:]])


def put_record(text: str, record: WeightRecord, origin: str, source: str, revision: str) -> str:
    """Copy a record into the text of another registry.yaml, as its last one or in place of itself.

    Args:
        text: of the file that gets the record.
        record: the weight.
        origin: text of the file that lists it.
        source: of its bytes in the copy, `hf-hub:org/name`.
        revision: of the source.

    Raises:
        InputError: the record does not begin with variant and tag, one a line.
    """
    lines = origin.splitlines()
    first, last = _find(lines, record)
    copy, indent = lines[first:last], _indent(lines[first])
    for key in ("source", "revision", "published"):
        copy = _without(copy, key)
    copy += [f"{indent}source: {source}", f"{indent}revision: {revision}"]
    rows = text.splitlines()
    if any(_is_head(rows, row, record) for row in range(len(rows))):
        start, end = _find(rows, record)
        return _join(text, [*rows[:start], *copy, *rows[end:]])
    return _join(text, [*rows, *copy])


def _is_head(rows: Sequence[str], row: int, record: WeightRecord) -> bool:
    match = re.fullmatch(r" *- variant: (\S+)", rows[row])
    if match is None or match[1] != record.variant:
        return False
    return row + 1 < len(rows) and rows[row + 1].strip() == f"tag: {record.tag}"


def _find(rows: Sequence[str], record: WeightRecord) -> tuple[int, int]:
    """Return the first row of a record, and the one after its last."""
    heads = [row for row in range(len(rows)) if _is_head(rows, row, record)]
    if len(heads) != 1:
        raise InputError(f"{record.name} is not one `- variant:` with its `tag:` in the next line; write it so")
    (first,) = heads
    inside = _indent(rows[first])[1:]
    last = first + 1
    while last < len(rows) and (rows[last].startswith(inside) or not rows[last].strip()):
        last += 1
    while not rows[last - 1].strip():
        last -= 1
    return first, last


def _indent(head: str) -> str:
    """Return the blanks before a field of the record that begins with `head`."""
    return " " * (head.index("-") + 2)


def _without(rows: Sequence[str], key: str) -> list[str]:
    """Return the rows of a record without one of its fields."""
    indent = _indent(rows[0])
    kept, is_dropped = [], False
    for row in rows:
        if row.startswith(indent) and row[len(indent)] not in " -":
            is_dropped = row.startswith(f"{indent}{key}:")
        if not is_dropped:
            kept.append(row)
    return kept


def _join(text: str, rows: Sequence[str]) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    return newline.join([*rows, ""])
