"""`zoo publish`: a checkpoint to the Hugging Face Hub, or into a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.options import Json, model_reference
from zoo.cli.output import say
from zoo.errors import SaveError
from zoo.names import LocalFolder, check_repository
from zoo.registry.components import CATALOG_FILE

if TYPE_CHECKING:
    from zoo.catalog.records import StoredWeight
    from zoo.publishing.saving import ModelFolder
    from zoo.weights.hub import Hub


def _option(panel: str, metavar: str | None, help: str, *names: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel)


_PLACE, _STATED = "Where it goes", "Metadata, for folders only"
_CATALOG = "Catalog that must not list other bytes under that name.  (default: registry.yaml, if there is one)"
_OUT = "Write a new folder instead, without the network; local-dir:DIR loads it."


def publish_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="name.tag of the catalog, or a folder, such as one of zoo train.")
    ],
    repo_id: Annotated[
        str | None, _option(_PLACE, "ORG/NAME", "Repository to publish into; it is made if it does not exist.")
    ] = None,
    out: Annotated[Path | None, _option(_PLACE, "DIR", _OUT)] = None,
    private: Annotated[bool, _option(_PLACE, None, "Publish into a private repository.", "--private")] = False,
    dry_run: Annotated[bool, _option(_PLACE, None, "Check everything, and send nothing.", "--dry-run")] = False,
    catalog: Annotated[Path | None, _option(_PLACE, "FILE", _CATALOG)] = None,
    license: Annotated[str | None, _option(_STATED, "NAME", "Licence, such as MIT; it is never assumed.")] = None,
    dataset: Annotated[str | None, _option(_STATED, "TEXT", "Data set that the model was trained on.")] = None,
    dataset_id: Annotated[str | None, _option(_STATED, "ORG/NAME", "Name of that data set on the Hub.")] = None,
    dataset_license: Annotated[str | None, _option(_STATED, "TEXT", "Licence of that data set.")] = None,
    dataset_attribution: Annotated[str | None, _option(_STATED, "TEXT", "Whom to credit for that data set.")] = None,
    as_json: Json = False,
) -> None:
    """Publish a checkpoint on the Hugging Face Hub, or write it into a folder.

    Everything is checked on this machine first: the tensors load strictly, the
    figures are those of the model, a licence is named. One commit holds
    model.safetensors, config.json, README.md (the card) and .eval_results. The
    commit and sha256 are printed. The same command again changes nothing.
    Log in once with `hf auth login`.
    """
    from zoo.publishing.publish import assemble
    from zoo.weights.hub import Hub

    if not (repo_id or out or dry_run):
        raise typer.BadParameter("say where it goes: --repo-id ORG/NAME, --out DIR or --dry-run")
    facts = {
        "license": license,
        "dataset": dataset,
        "dataset_id": dataset_id,
        "dataset_license": dataset_license,
        "dataset_attribution": dataset_attribution,
    }
    reference = f"hf-hub:{check_repository(repo_id)}" if repo_id else "local-dir:."
    weight, source = _open(name, {field: text for field, text in facts.items() if text is not None})
    listing = catalog or Path(CATALOG_FILE)
    has_listing = catalog is not None or (listing.exists() and out is None)
    is_listed = has_listing and _is_listed(weight, listing)
    hub = Hub()
    folder = assemble(weight, source, reference)
    row: dict[str, Any] = {"name": weight.name, "sha256": weight.sha256, "missing": _missing(source)}
    row["files"] = {path: len(content) for path, content in folder.files.items()}
    if out is not None:
        folder.write(out)
        row |= {"state": "written", "folder": str(out), "load": f"local-dir:{out}"}
    elif repo_id is None or dry_run:
        row["state"] = "checked"
    else:
        row |= _send(folder, repo_id, hub, private) | {"catalog": str(listing) if is_listed else None}
    _print(row, as_json)


def _send(folder: ModelFolder, repo_id: str, hub: Hub, private: bool) -> dict[str, Any]:
    from zoo.publishing.publish import publish

    pinned, has_changed = publish(folder, repo_id, hub, private=private)
    return {
        "state": "published" if has_changed else "unchanged",
        "repository": repo_id,
        "revision": pinned.revision,
        "url": f"{hub.address}/{repo_id}",
        "load": str(pinned),
    }


def _is_listed(weight: StoredWeight, listing: Path) -> bool:
    """Return True if a catalog lists the checkpoint; raises `SaveError` if it lists other bytes under its name."""
    from zoo.catalog.files import read_file

    for record in read_file(listing).weights:
        if record.name == weight.name:
            if record.sha256 != weight.sha256:
                raise SaveError(f"{listing} lists other bytes as {weight.name}; give the new weight a tag of its own")
            return True
    return False


def _open(name: str, facts: dict[str, str]) -> tuple[Any, Any]:
    """Return the record of a checkpoint, with what is stated of a folder, and the source of its bytes."""
    from zoo.models.factory import open_model
    from zoo.publishing.saving import with_metadata

    opened = open_model(model_reference(name), required=True)
    if opened.weight is None:
        raise SaveError(f"{opened.weight_name} is in no catalog: its own publisher keeps it, and it is published there")
    if facts and not isinstance(opened.source, LocalFolder):
        options = ", ".join(f"--{field.replace('_', '-')}" for field in facts)
        raise SaveError(f"{options}: {opened.weight.name} is published with the record that it has; leave it out")
    return with_metadata(opened.weight, facts) if facts else opened.weight, opened.source


def _missing(source: Any) -> list[str]:
    """Return the reasons of `zoo train` not to publish the checkpoint of a run yet."""
    from zoo.weights.load import RUN

    run = source.path / RUN if isinstance(source, LocalFolder) else None
    if run is None or not run.is_file():
        return []
    result = json.loads(run.read_bytes()).get("result", {"missing": ["the run is unfinished"]})
    return list(result.get("missing", ()))


def _print(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(row), flush=True)
        return
    say(f"{row['name']}: {row['state']}")
    for key in ("repository", "folder", "revision", "sha256", "url"):
        if row.get(key):
            say(f"  {key:<11}{row[key]}")
    for path, size in row["files"].items():
        say(f"  {size:>13,} bytes  {path}")
    if "load" in row:
        say(f'  zoo.create_model("{row["load"]}")')
    if row.get("catalog"):
        say(f"record it: python -m tools.record_publication {row['catalog']} {row['name']} {row['load']}")
    if row["missing"]:
        say(f"not worth publishing yet: {'; '.join(row['missing'])}")
