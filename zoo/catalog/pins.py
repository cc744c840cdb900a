"""Pins: the commit at which a weight was published, written into a registry.yaml without touching anything else in it.

The file is changed as text, at the places that YAML's own parser names, so that comments and layout stay; the result is
read again before it replaces the old file, whole, by a rename.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from zoo.catalog.catalog import read_file
from zoo.catalog.schema import StoredWeight, WeightRecord
from zoo.catalog.sources import HubRepository
from zoo.errors import CatalogError, PublishError
from zoo.files import replace_file

_NEW = "# Weights published from here; the schema is that of has8-zoo's registry.yaml.\nversion: 1\n\nweights:\n"
_ITEM_INDENT = 2
_RARE_LINE_ENDS = frozenset("\x85\u2028\u2029")


def write_pin(catalog: Path, weight: StoredWeight, place: HubRepository) -> WeightRecord:
    """Record in `catalog` where a weight was published; the file is made where there is none.

    A weight that lies in a package keeps that source and gets `published`; one of the Hub gets the new commit; one that
    the file does not list is added.

    Args:
        catalog: the file.
        weight: its record.
        place: the repository at the commit that holds it.

    Returns:
        The record as it is now.

    Raises:
        CatalogError: the file is not a catalog.
        PublishError: it cannot be written; it is as it was.
    """
    catalog = catalog.resolve()  # a link stays one
    with _locked(catalog):
        listed = read_file(catalog).weights if catalog.exists() else ()
        text = catalog.read_bytes().decode() if catalog.exists() else _NEW  # line ends as they are
        record = next((r for r in listed if r.name == weight.name), None)
        pinned = _pinned(record, weight, place)
        if record == pinned:
            return pinned
        changed = _append(text, pinned) if record is None else _change(text, record, pinned)
        _replace(catalog, changed, (*(r for r in listed if r is not record), pinned))
    return pinned


def check_pin(catalog: Path, weight: StoredWeight) -> None:
    """Raise what `write_pin` would, as far as it shows before a weight is published."""
    if not catalog.resolve().parent.is_dir():
        raise PublishError(f"{catalog} cannot be written: there is no folder {catalog.parent}")
    listed = read_file(catalog).weights if catalog.exists() else ()
    for record in listed:
        if record.name == weight.name:
            _check_same(record, weight)


def _check_same(record: WeightRecord, weight: StoredWeight) -> None:
    if record.sha256 != weight.sha256:
        raise PublishError(f"the catalog lists other bytes as {weight.name}; give the new weight a tag of its own")


@contextmanager
def _locked(catalog: Path) -> Iterator[None]:
    """One writer at a time. Beside the catalog a lock file would be litter, and another user's cannot be opened."""
    place = hashlib.sha256(f"{Path.home()}\n{catalog}".encode()).hexdigest()[:16]
    lock = FileLock(Path(tempfile.gettempdir()) / f"zoo-{place}.lock")
    try:
        lock.acquire()
    except OSError as error:
        raise PublishError(f"{catalog} cannot be locked: {error}") from error
    try:
        yield
    finally:
        lock.release()


def _pinned(record: WeightRecord | None, weight: StoredWeight, place: HubRepository) -> WeightRecord:
    if record is None:
        located = {"source": f"hf-hub:{place.repo_id}", "revision": place.revision}
        return WeightRecord.model_validate(weight.model_dump(include=set(StoredWeight.model_fields)) | located)
    _check_same(record, weight)
    if record.revision is None:
        return record.model_copy(update={"published": str(place)})
    return record.model_copy(update={"source": f"hf-hub:{place.repo_id}", "revision": place.revision})


def _change(text: str, record: WeightRecord, pinned: WeightRecord) -> str:
    """Replace, or insert after `source`, the keys in which the two records differ."""
    lines, newline = text.splitlines(keepends=True), _newline(text)
    item = _find(text, record)
    keys = {key.value: (key, value) for key, value in item.value}
    if "source" not in keys:
        raise PublishError(f"{record.name}: write its source in the record itself, so that the pin can stand below it")
    after = keys["source"][1].end_mark.line
    for name in ("published", "revision", "source"):  # bottom up where they stand in the usual order
        wanted = getattr(pinned, name)
        if wanted == getattr(record, name):
            continue
        if yaml.safe_load(wanted) != wanted:  # a commit of digits alone is a number to YAML
            wanted = f"'{wanted}'"
        if name in keys:
            value = keys[name][1]
            if value.start_mark.line != value.end_mark.line:
                raise PublishError(
                    f"{record.name}: write {name!r} on one line of the catalog, so that it can be changed"
                )
            line = lines[value.start_mark.line]
            lines[value.start_mark.line] = line[: value.start_mark.column] + wanted + line[value.end_mark.column :]
        else:
            indent = " " * item.start_mark.column
            lines[after] = lines[after].rstrip("\r\n") + f"{newline}{indent}{name}: {wanted}{newline}"
    return "".join(lines)


def _newline(text: str) -> str:
    """How the file ends its lines."""
    return "\r\n" if "\r\n" in text else "\n"


def _find(text: str, record: WeightRecord) -> yaml.MappingNode:
    """The mapping of a record in the parsed file; flow style has no lines to insert."""
    weights = dict(_keys(text))["weights"]
    assert isinstance(weights, yaml.SequenceNode)  # it was validated before
    for item in weights.value:
        values = {key.value: value.value for key, value in item.value if isinstance(value, yaml.ScalarNode)}
        if (values.get("variant"), values.get("tag")) == (record.variant, record.tag):
            if item.flow_style or weights.flow_style:
                break
            found: yaml.MappingNode = item
            return found
    raise PublishError(
        f"{record.name} is written in braces, or with aliases, in the catalog; write it one key a line, then pin it"
    )


def _keys(text: str) -> list[tuple[str, yaml.Node]]:
    """Key → node of the file's outermost mapping, in its order."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)  # it was validated before
    return [(key.value, value) for key, value in root.value]


def _append(text: str, pinned: WeightRecord) -> str:
    """The record at the end of the list `weights`, which is the file's last key or is added."""
    keys = _keys(text)
    listed = dict(keys).get("weights")
    newline = _newline(text)
    if isinstance(listed, yaml.SequenceNode) and not listed.value:  # `weights: []` becomes `weights:`
        text = text[: listed.start_mark.index].rstrip(" ") + text[listed.end_mark.index :]
    text += "" if text.endswith("\n") else newline
    if listed is None:
        text += f"{newline}weights:{newline}"
    elif keys[-1][0] != "weights" or (isinstance(listed, yaml.SequenceNode) and listed.value and listed.flow_style):
        raise PublishError("`weights:` must be the last key of the catalog, one `- variant: …` below the other")
    indent = " " * (listed.start_mark.column if listed is not None and listed.value else _ITEM_INDENT)
    return text + "".join(indent + line + newline for line in _dump(pinned).splitlines())


def _dump(pinned: WeightRecord) -> str:
    """The record as an item of a YAML list."""
    content = [pinned.model_dump(mode="json", exclude_none=True)]
    readable = _RARE_LINE_ENDS.isdisjoint(json.dumps(content, ensure_ascii=False))  # the emitter loses them
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=readable, width=110)


def _replace(catalog: Path, text: str, expected: tuple[WeightRecord, ...]) -> None:
    """Write beside, read again, rename."""
    pinned = expected[-1]
    by_hand = f"add the pin by hand: {pinned.name} is {pinned.published or pinned.location}"

    def check(part: Path) -> None:
        if sorted(read_file(part).weights, key=_name) != sorted(expected, key=_name):
            raise PublishError(f"{catalog} cannot be changed as text; {by_hand}")

    try:
        replace_file(catalog, lambda file: file.write(text.encode()), check)
    except CatalogError as error:
        raise PublishError(f"{catalog} cannot be changed as text ({error}); {by_hand}") from error
    except OSError as error:
        raise PublishError(f"{catalog} cannot be written: {error}; {by_hand}") from error


def _name(record: WeightRecord) -> Any:
    return record.name
