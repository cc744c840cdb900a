"""Record where a weight is published: `python -m tools.record_publication registry.yaml NAME.TAG hf-hub:…`.

`zoo publish` prints the reference. Every other line, comments too, stays as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tools.put_block import put_block
from zoo.catalog.files import read_file
from zoo.catalog.records import WeightRecord
from zoo.errors import InputError
from zoo.files import replace_bytes


def put_reference(text: str, record: WeightRecord, reference: str) -> str:
    """A registry.yaml with this reference in that record; raises as `put_block`, and `ValidationError`."""
    WeightRecord.model_validate(record.model_dump() | {"published": reference})
    return put_block(text, record, "published", value=reference)


def main(
    catalog: Annotated[Path, typer.Argument(help="The registry.yaml.")],
    name: Annotated[str, typer.Argument(help="variant.tag of a weight that it lists.")],
    reference: Annotated[str, typer.Argument(help="hf-hub:org/name@commit.")],
) -> None:
    """Record that a weight is published."""
    records = {record.name: record for record in read_file(catalog).weights}
    if name not in records:
        raise InputError(f"{catalog} does not list {name}; it lists {', '.join(records)}")
    replace_bytes(catalog, put_reference(catalog.read_bytes().decode(), records[name], reference).encode())


if __name__ == "__main__":
    typer.run(main)
