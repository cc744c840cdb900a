"""One field of a record in the text of a registry.yaml."""

from __future__ import annotations

import re
from collections.abc import Sequence

from zoo.catalog import WeightRecord
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
    newline = "\r\n" if "\r\n" in text else "\n"
    rows = text.splitlines()
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
    kept, dropping = [], False
    for line in rows[first:last]:
        if line.startswith(f"{outer}  ") and line[len(outer) + 2] not in " -":
            dropping = line.startswith(f"{outer}  {key}:")
        kept += [] if dropping else [line]
    written = [f"{outer}  {line}" for line in (f"{key}:" if value is None else f"{key}: {value}", *lines)]
    return newline.join([*rows[:first], *kept, *written, *rows[last:], ""])
