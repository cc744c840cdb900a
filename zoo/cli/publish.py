"""`zoo publish`: a weight, or all of a catalog, to the Hugging Face Hub or into a folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

import typer

from zoo.cli.options import Json, model_reference
from zoo.cli.output import counted, say
from zoo.contracts.sizes import MAX_IMAGE_SIZE
from zoo.errors import SaveError, ZooError, import_plugin
from zoo.files import is_file

if TYPE_CHECKING:
    from zoo.catalog import StoredWeight
    from zoo.hub.read import Hub
    from zoo.saving import ModelFolder

_OF_A_CHECKPOINT = ("--license", "--labels", "--image-size", "--dataset")
_OF_A_FOLDER = ("--license", "--dataset", "--dataset-id", "--dataset-license", "--dataset-attribution")
"""A folder's owner knows these better than the program that wrote it."""


@final
@dataclass(frozen=True)
class _Order:
    """One weight to publish: its record, and the function that makes its folder for a reference."""

    weight: StoredWeight
    make: Callable[[str], ModelFolder]


def _option(panel: str, metavar: str | None, help: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel, **more)


_LISTED, _PLACE = "What is published", "Where it goes"
_STATED = "What you state of a --checkpoint, or of a folder"
_RECORDED = "What you state of a --checkpoint alone; a folder's config.json records it"
_IMAGE_SIZE = _option(_RECORDED, "PIXELS", "Pixels a side it was trained with.", min=1, max=MAX_IMAGE_SIZE)
_SITE = "Publish a folder NAME of zoo site, or the site of what is installed, as this static Space."


def publish_command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="name.tag of the catalog, or a folder, such as one of zoo train."),
    ] = None,
    everything: Annotated[
        bool, _option(_LISTED, None, "Every weight of the catalog, each to NAMESPACE/name.tag.", "--all")
    ] = False,
    checkpoint: Annotated[Path | None, _option(_LISTED, "FILE", "A safetensors file of the model NAME.")] = None,
    repo_id: Annotated[
        str | None, _option(_PLACE, "ORG/NAME", "The repository; it is made if it does not exist.")
    ] = None,
    namespace: Annotated[str | None, _option(_PLACE, "ORG", "With --all: the owner of the repositories.")] = None,
    site: Annotated[str | None, _option(_PLACE, "ORG/NAME", _SITE)] = None,
    private: Annotated[bool, _option(_PLACE, None, "Publish into a private repository.", "--private")] = False,
    to_dir: Annotated[
        Path | None, _option(_PLACE, "DIR", "Write a new folder instead, without network; local-dir:DIR loads it.")
    ] = None,
    dry_run: Annotated[
        bool,
        _option(
            _PLACE, None, "Check everything and write the folder, --to-dir or ./name.tag; send nothing.", "--dry-run"
        ),
    ] = False,
    endpoint: Annotated[
        str | None, _option(_PLACE, "URL", "The address of another Hub than HF_ENDPOINT or huggingface.co.")
    ] = None,
    catalog: Annotated[Path, _option(_PLACE, "FILE", "The catalog that gets the commit and hash.")] = Path(
        "registry.yaml"
    ),
    license: Annotated[str | None, _option(_STATED, "NAME", "Licence, such as MIT; never assumed.")] = None,
    dataset: Annotated[str | None, _option(_STATED, "TEXT", "The data set that it was trained on.")] = None,
    dataset_id: Annotated[str | None, _option(_STATED, "ORG/NAME", "The name of that data set on the Hub.")] = None,
    dataset_license: Annotated[str | None, _option(_STATED, "TEXT", "The licence of that data set.")] = None,
    dataset_attribution: Annotated[str | None, _option(_STATED, "TEXT", "Whom to credit for that data set.")] = None,
    labels: Annotated[str | None, _option(_RECORDED, "A,B,…|FILE", "Class names in the order of the logits.")] = None,
    image_size: Annotated[int | None, _IMAGE_SIZE] = None,
    recipe: Annotated[str | None, _option(_RECORDED, "TEXT", "How it was trained.")] = None,
    metric: Annotated[
        list[str] | None,
        _option(_RECORDED, "NAME=PERCENT", "A measured figure, such as top1=81.6; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Publish weights on the Hugging Face Hub, or write them into a folder.

    Everything is checked on this machine first: the weights load strictly, the
    figures are those of the model, a licence is named. One commit holds
    model.safetensors, config.json and README.md (the card), nothing else. The
    commit and sha256 are printed and written into the catalog. The same
    command again changes nothing.
    A weight of a catalog or of the Hub has a record already; state nothing
    of it here.
    Log in once with `hf auth login`. --site ORG/NAME puts the pages of
    `zoo site` into a static Space instead.
    """
    from zoo.catalog import read_file
    from zoo.hub.publish import assemble
    from zoo.hub.read import Hub

    options: dict[str, Any] = {
        "--license": license,
        "--labels": labels,
        "--image-size": image_size,
        "--dataset": dataset,
        "--dataset-id": dataset_id,
        "--dataset-license": dataset_license,
        "--dataset-attribution": dataset_attribution,
        "--recipe": recipe,
        "--metric": metric or None,
    }
    stated = {option: value for option, value in options.items() if value is not None}
    hub = Hub(endpoint)
    if site is not None:
        if stated or everything or checkpoint or repo_id or namespace or to_dir:
            raise typer.BadParameter("--site takes a folder of `zoo site`, --private, --dry-run and --endpoint alone")
        plugin = import_plugin("zoo-site", "zoo_site.publish", "--site")
        plugin.publish_folder(name, site, hub, private=private, dry_run=dry_run, as_json=as_json)
        return
    if everything and (name or repo_id or checkpoint or to_dir or not (namespace or dry_run)):
        raise typer.BadParameter("--all needs --namespace ORG and takes no NAME, --repo-id, --checkpoint or --to-dir")
    if not everything and not name:
        raise typer.BadParameter("name a weight, as `zoo list --pretrained` does, or use --all")
    if not everything and (namespace or not (repo_id or to_dir or dry_run)):
        raise typer.BadParameter("say where it goes: --repo-id ORG/NAME, --to-dir DIR or --dry-run; --all: --namespace")
    for option, value in stated.items():
        if isinstance(value, str) and not value.strip():
            raise SaveError(f"{option} is empty; write it out, or leave the option out")
    if catalog.exists():
        read_file(catalog)  # before anything is sent: the pin must have a place
    if everything:
        _refuse(stated, f"--all publishes every weight with its record in {catalog}")
        orders = [_Order(each, partial(assemble, each, each.location, hub=hub)) for each in read_file(catalog).weights]
    else:
        orders = [_order(str(name), checkpoint, catalog, hub, stated)]
    failed = False
    for order in orders:
        repository = repo_id or (f"{namespace}/{order.weight.name}" if namespace else None)
        local = (to_dir or Path(order.weight.name)) if dry_run or to_dir else None
        try:
            row = _publish_one(order, repository, hub, private, local, catalog)
        except ZooError as error:
            if not everything:
                raise
            failed = True
            row = {"name": order.weight.name, "repository": repository, "state": "failed", "error": str(error)}
        _print(row, as_json)
    if everything and not as_json:
        say("", f"{counted(len(orders), 'weight')}; the same command sends again what failed", sep="\n")
    if failed:
        raise typer.Exit(1)


def _field(option: str) -> str:
    """Name of the field of a record that an option sets."""
    return option.removeprefix("--").replace("-", "_")


def _fields(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the record that options set."""
    missing = [option for option in _OF_A_CHECKPOINT if option not in stated]
    if missing:
        raise SaveError(f"--checkpoint needs {', '.join(missing)} too; the file does not say it")
    fields = {_field(option): value for option, value in stated.items()}
    fields["labels"] = _labels(fields["labels"])
    fields["metrics"] = _metrics(fields.pop("metric", []))
    fields["preprocessing"] = {"size": fields.pop("image_size")}
    return fields


def _labels(text: str) -> list[str]:
    """Class names between commas, or one a line of a file."""
    if "," not in text:
        try:
            return [line.strip() for line in Path(text).read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, ValueError) as error:
            raise SaveError(
                f"--labels {text}: give names as in a,b,c, or a UTF-8 file with one a line ({error})"
            ) from error
    labels = [label.strip() for label in text.split(",")]
    if "" in labels:
        raise SaveError(f"--labels {text}: name {labels.index('') + 1} is empty; every class needs one")
    return labels


def _metrics(texts: list[str]) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            if name in metrics:
                raise ValueError
            metrics[name] = float(value)
        except ValueError as error:
            raise typer.BadParameter(f"--metric {text!r} is not of the form top1=81.6, or stated twice") from error
    return metrics


def _order(name: str, checkpoint: Path | None, catalog: Path, hub: Hub, stated: Mapping[str, Any]) -> _Order:
    """Resolve NAME: a checkpoint with what is stated of it, a folder, or a weight that has its record."""
    from zoo.catalog import read_catalog
    from zoo.factory import Stock
    from zoo.hub.publish import add_card, assemble
    from zoo.names import LocalFolder
    from zoo.saving import make_folder, restate

    if checkpoint is not None:
        try:
            data = checkpoint.read_bytes()
        except OSError as error:
            raise SaveError(f"{checkpoint} cannot be read: {error}") from error
        made = make_folder(name, data, str(checkpoint), **_fields(stated))
        return _Order(made.weight, partial(add_card, made))
    listed = read_catalog(catalog) if is_file(catalog) else None
    is_listed = listed is not None and name.partition(".")[0] in listed.weights
    opened = Stock(hub, given_catalog=listed if is_listed else None).open(model_reference(name), required=True)
    if opened.weight is None or opened.source is None:
        raise SaveError(f"{opened.weight_name} is in no catalog: its own publisher keeps it, and it is published there")
    if isinstance(opened.source, LocalFolder):
        _refuse([option for option in stated if option not in _OF_A_FOLDER], f"the config.json of {name} records that")
        weight = restate(opened.weight, {_field(option): text for option, text in stated.items()})
    else:
        _refuse(stated, f"{opened.weight.name} is published with the record of its catalog or repository")
        weight = opened.weight
    return _Order(weight, partial(assemble, weight, opened.source, hub=hub))


def _refuse(options: Collection[str], why: str) -> None:
    """Raise `SaveError` if options were stated that would change nothing."""
    if options:
        raise SaveError(
            f"{', '.join(options)}: {why}; leave it out, or state everything of the file itself, "
            "by NAME.TAG --checkpoint FILE"
        )


def _publish_one(
    order: _Order, repository: str | None, hub: Hub, private: bool, local: Path | None, catalog: Path
) -> dict[str, Any]:
    """Publish, or write the folder `local`; returns a row that says what became of it."""
    from zoo.hub.publish import check_pin, publish, write_pin
    from zoo.names import check_repository

    reference = f"hf-hub:{check_repository(repository)}" if repository else "local-dir:."
    folder = order.make(reference)
    row: dict[str, Any] = {"name": order.weight.name, "sha256": order.weight.sha256}
    row["files"] = {path: len(content) for path, content in folder.files.items()}
    if local is not None:
        folder.write(local)
        return row | {"state": "written", "folder": str(local), "load": f"local-dir:{local}"}
    assert repository is not None
    check_pin(catalog, folder.weight)  # before anything is sent
    published = publish(folder, repository, hub, private=private)
    write_pin(catalog, folder.weight, published.repository)
    return row | {
        "state": "published" if published.changed else "unchanged",
        "repository": repository,
        "revision": published.repository.revision,
        "url": published.url,
        "load": str(published.repository),
        "catalog": str(catalog),
    }


def _print(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(row), flush=True)
        return
    say(f"{row['name']}: {row['state']}" + (f": {row['error']}" if "error" in row else ""), flush=True)
    for key in ("repository", "folder", "revision", "sha256", "url", "catalog"):
        if key in row:
            say(f"  {key:<11}{row[key]}")
    for path, size in row.get("files", {}).items():
        say(f"  {size:>13,} bytes  {path}")
    if "load" in row:
        say(f'  zoo.create_model("{row["load"]}")', flush=True)
