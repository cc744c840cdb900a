"""Publish every weight of the repository on the Hugging Face Hub: `python -m tools.publish_all ORG`.

Each weight gets a repository of its name, `ORG/variant.tag`, and its commit is written into the registry.yaml that
lists it. The zoo's own registry.yaml lists the weights of plugins too from then on, at their commits, so that
`pip install has8-zoo` alone loads all of them. Log in once with `hf auth login`. What is there with the same bytes is
left, so that the same command goes on after whatever stopped it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from tools.put_block import put_record
from tools.record_publication import put_reference
from zoo.catalog.files import Catalog, read_file
from zoo.catalog.records import WeightRecord
from zoo.errors import HubError, InputError
from zoo.files import replace_bytes
from zoo.models.factory import Places
from zoo.names import HubRepository, check_repository
from zoo.publishing.publish import assemble, publish
from zoo.registry.components import CATALOG_FILE
from zoo.weights.hub import Hub, files_of
from zoo.weights.load import MODEL

ROOT = Path(__file__).parents[1]


def list_weights(root: Path) -> list[tuple[Path, WeightRecord]]:
    """List every weight whose bytes a folder holds, with the registry.yaml that lists it; what others start from first.

    A card names the repository of its weight's start, so that the start has to be published before it.
    """
    weights = list(_read_weights(root))
    starts = {record.name: record.started_from for _, record in weights}

    def count_ancestors(weight: tuple[Path, WeightRecord]) -> int:
        count = 0
        start = weight[1].started_from
        while start in starts:
            count += 1
            start = starts[start]
        return count

    return sorted(weights, key=count_ancestors)


def _read_weights(root: Path) -> Iterator[tuple[Path, WeightRecord]]:
    files = (root / CATALOG_FILE, *sorted(root.glob(f"plugins/*/*/{CATALOG_FILE}")))
    contents = {file: read_file(file) for file in files}
    catalog = Catalog((content, str(file)) for file, content in contents.items())
    for file, content in contents.items():
        for listed in content.weights:
            record = listed if listed.source else catalog.named(listed.name)
            if record and not isinstance(record.location, HubRepository):
                yield file, record


def find_published(record: WeightRecord, repo_id: str, hub: Hub) -> HubRepository | None:
    """Return the commit that a record names, if it is one of this repository and holds the record's bytes."""
    pinned = record.repository
    if pinned is None or pinned.repo_id != repo_id:
        return None
    try:
        entry = files_of(hub.index(pinned)).get(MODEL)
    except HubError:  # `publish` says what is wrong
        return None
    if entry is None or entry.lfs is None or entry.lfs.sha256 != record.sha256:
        return None
    return pinned


def note_commit(root: Path, file: Path, record: WeightRecord, pinned: HubRepository) -> None:
    """Write the commit of a weight into the file that lists it, and into the zoo's own; each is whole at any moment."""
    text = put_reference(file.read_bytes().decode(), record, str(pinned))
    replace_bytes(file, text.encode())
    own = root / CATALOG_FILE
    if file == own:
        return
    listed = put_record(own.read_bytes().decode(), record, text, f"hf-hub:{pinned.repo_id}", str(pinned.revision))
    replace_bytes(own, listed.encode())


def publish_weight(
    record: WeightRecord, repo_id: str, hub: Hub, catalog: Catalog, *, private: bool, dry_run: bool
) -> tuple[str, HubRepository | None]:
    """Publish one weight unless it is there; `dry_run` only checks it.

    Returns:
        `unchanged`, `published` or `checked`; and its commit, None if it has none yet.
    """
    pinned = find_published(record, repo_id, hub)
    if pinned is not None:
        return "unchanged", pinned
    folder = assemble(record, record.location, f"hf-hub:{repo_id}", Places(catalog=catalog))
    if dry_run:
        return "checked", None
    pinned, has_changed = publish(folder, repo_id, hub, private=private)
    return "published" if has_changed else "unchanged", pinned


def main(
    org: Annotated[str, typer.Argument(help="Organisation or user on the Hub.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[WEIGHT]...", help="variant.tag.  (default: all)")
    ] = None,
    root: Annotated[Path, typer.Option(help="The repository's folder.")] = ROOT,
    private: Annotated[bool, typer.Option("--private", help="Into private repositories.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, and send nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Publish all weights under an organisation, and write their commits into the catalogs."""
    weights = list_weights(root)
    if unknown := set(names or ()) - {record.name for _, record in weights}:
        raise InputError(f"{root} holds no weight {min(unknown)}; `zoo list --pretrained` names those that there are")
    sys.path += {str(file.parents[1]) for file, _ in weights}  # where the packages lie that hold the bytes
    files = dict.fromkeys(file for file, _ in weights)
    hub = Hub()
    for file, record in weights:
        if names and record.name not in names:
            continue
        repo_id = check_repository(f"{org}/{record.name}")
        catalog = Catalog([(read_file(listed), str(listed)) for listed in files])  # with the commits of those before
        state, pinned = publish_weight(record, repo_id, hub, catalog, private=private, dry_run=dry_run)
        if pinned is not None and not dry_run:
            note_commit(root, file, record, pinned)
        row = {"name": record.name, "state": state, "repository": repo_id, "catalog": str(file)}
        row["load"] = str(pinned or "")
        typer.echo(json.dumps(row) if as_json else f"{record.name}: {state}  {pinned or repo_id}")


if __name__ == "__main__":
    typer.run(main)
