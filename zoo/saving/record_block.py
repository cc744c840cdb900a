"""Writing one field of a record into a registry.yaml; all other lines, comments too, stay as they are."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zoo.catalog.schema import WeightRecord
from zoo.errors import InputError


def put_block(text: str, record: WeightRecord, key: str, lines: Sequence[str], value: object = None) -> str:
    """A registry.yaml with this field in that record, in place of the one of the same key.

    Args:
        text: of the file.
        record: one that it lists.
        key: a field of the record.
        lines: that follow the key, indented as if the key were not.
        value: that stands beside the key, of a field without lines.

    Raises:
        InputError: the record does not begin as `zoo.saving.record_run` writes it, with variant and tag.
    """
    rows = text.splitlines()
    first, last = _find(rows, record)
    inner = f"{rows[first].partition('-')[0]}  "
    kept, dropping = [], False
    for line in rows[first:last]:
        if line.startswith(inner) and line[len(inner)] not in " -":
            dropping = line.startswith(f"{inner}{key}:")
        kept += [] if dropping else [line]
    written = [f"{inner}{line}" for line in (f"{key}:" if value is None else f"{key}: {value}", *lines)]
    return "\n".join([*rows[:first], *kept, *written, *rows[last:], ""])


def _find(rows: Sequence[str], record: WeightRecord) -> tuple[int, int]:
    """The record's first row, and the one behind its last that is not empty."""
    heads = [
        (row, match[1])
        for row, line in enumerate(rows)
        if (match := re.fullmatch(r"( *)- variant: (\S+)", line)) and match[2] == record.variant
        if row + 1 < len(rows) and rows[row + 1].strip() == f"tag: {record.tag}"
    ]
    if len(heads) != 1:
        raise InputError(f"{record.name} is not one `- variant:` with its `tag:` in the next line; write it so")
    first, outer = heads[0]
    last = first + 1
    while last < len(rows) and (rows[last].startswith(f"{outer} ") or not rows[last].strip()):
        last += 1
    while not rows[last - 1].strip():
        last -= 1
    return first, last
