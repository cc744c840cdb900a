"""`zoo list`: models and components."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.options import Json
from zoo.cli.output import in_terminal, print_rows, say
from zoo.registry.components import default_registry

if TYPE_CHECKING:
    from zoo.catalog.figures import Figures

_OF_A_WEIGHT = {"tag", "metrics", "dataset", "recipe", "epochs", "seed", "control", "started_from", "sha256"}
"""Keys of each weight in an object of `--json`."""


def _option(help: str, metavar: str = "NAME") -> Any:
    return typer.Option(metavar=metavar, help=help)


def list_command(
    filter: Annotated[
        str, typer.Argument(metavar="FILTER", help="Part of a name, or a shell pattern such as 'has8_*_bpd'.")
    ] = "*",
    family: Annotated[str | None, _option("List only models of this family, such as has8.")] = None,
    backbone: Annotated[str | None, _option("List only models on this backbone, such as resnet.")] = None,
    encoder: Annotated[str | None, _option("List only models with this encoder, such as fourier.")] = None,
    decoder: Annotated[str | None, _option("List only models with this decoder, such as bpd.")] = None,
    neuron: Annotated[str | None, _option("List only models with this neuron, such as lif.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="List only pretrained models, as name.tag.")] = False,
    sort: Annotated[
        str | None,
        _option(
            "Sort by name, params, macs_per_timestep, macs, timesteps, energy (the lowest first) or top1 (the highest "
            "first).  (default: top1 in a terminal, else as the catalog lists them)",
            "FIGURE",
        ),
    ] = None,
    max_params: Annotated[
        float | None, _option("List only models of at most N parameters, such as 2.5e6.", "N")
    ] = None,
    max_macs: Annotated[
        float | None, _option("List only models of at most N MACs an image, over all timesteps.", "N")
    ] = None,
    max_energy: Annotated[
        float | None, _option("List only models of at most N measured microjoules an image, at 45 nm.", "N")
    ] = None,
    min_top1: Annotated[float | None, _option("List only models of at least this top-1 accuracy.", "PERCENT")] = None,
    components: Annotated[
        bool, typer.Option("--components", help="List the parts of names instead, and who provides them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the models of the catalog; any other valid name can be built too.

    In a terminal two tables, pretrained models first; elsewhere one name a line,
    with --json one object a line with exact figures. The whole list ends with
    patterns of names that no catalog lists, such as those of a plugin's family.
    A pretrained model has its own figures; those of other names are for 10
    classes at 32 pixels a side. JSON and `zoo info NAME` show what a model was
    trained on, its recipe, seed, control and the hash of its file.
    """
    pattern = filter if any(c in filter for c in "*?[") else f"*{filter}*"
    if components:
        _list_components(pattern, as_json)
        return
    from zoo.catalog.queries import list_models, names_of_families

    parts = {"family": family, "backbone": backbone, "encoder": encoder, "decoder": decoder, "neuron": neuron}
    bounds = {"max_params": max_params, "max_macs": max_macs, "max_energy": max_energy, "min_top1": min_top1}
    chosen: dict[str, Any] = {key: value for key, value in (parts | bounds).items() if value is not None}
    is_table = in_terminal() and not as_json
    order = sort or ("top1" if is_table else None)
    names = list_models(pattern, pretrained=pretrained, sort=order, **chosen)
    is_filtered = pretrained or bool(chosen)
    if not is_filtered:
        names += names_of_families(pattern)
    is_whole = pattern.strip("*") == "" and not is_filtered
    families = _families() if is_whole or not names else []
    if not names:
        say(f"no model matches {pattern!r} with these options; `zoo list` shows all", file=sys.stderr)
        say(*map(_in_words, families), sep="\n", file=sys.stderr)
        return
    if is_table:
        _print_tables(list_models(pattern, pretrained=True, sort=order, **chosen), names, families)
    else:
        _print_lines(names, families, as_json)


def _print_lines(names: list[str], families: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_rows([*map(_as_object, names), *families], as_json)
    else:
        say(*names, sep="\n")


def _print_tables(trained: list[str], names: list[str], families: list[dict[str, Any]]) -> None:
    """Print pretrained models, then the names that have no checkpoint; each row fits 80 columns."""
    from zoo.catalog.files import default_catalog
    from zoo.catalog.queries import figures_of

    catalog = default_catalog()
    sizes = {record.name: record.size for records in catalog.weights.values() for record in records}
    untrained = [name for name in names if "." not in name and not catalog.weights.get(name)]
    for title, group in (
        ("pretrained, `zoo info NAME` shows all of one", trained),
        ("untrained; figures for 10 classes at 32 pixels a side", untrained),
    ):
        if group:
            say(title)
            print_rows([_row(name, figures_of(name, catalog), sizes.get(name)) for name in group], as_json=False)
            say("")
    more = "Any other valid name can be built too, of the parts in `zoo list --components`."
    say(more, *map(_in_words, families), sep="\n")


def _in_words(family: dict[str, Any]) -> str:
    return f"{family['pattern']:<8} {family['kind']} of {family['distribution']}: {family['about']}"


def _families() -> list[dict[str, Any]]:
    """Return a row for every family of which no catalog lists a model."""
    from zoo.catalog.queries import unlisted_families

    return [
        {
            "pattern": f"{family.name}_*",
            "kind": family.kind,
            "component": family.name,
            "distribution": family.distribution,
            "about": family.summary,
        }
        for family in unlisted_families()
    ]


def _as_object(name: str) -> dict[str, Any]:
    from zoo.catalog.files import default_catalog
    from zoo.catalog.queries import figures_of

    catalog, (variant, _, tag) = default_catalog(), name.partition(".")
    records = (record for record in catalog.weights.get(variant, ()) if tag in ("", record.tag))
    weights = [record.model_dump(include=_OF_A_WEIGHT) for record in records]
    return {
        "name": name,
        "note": catalog.notes.get(variant, ""),
        **figures_of(name, catalog).values(),
        "weights": weights,
    }


def _row(name: str, figures: Figures, size: int | None) -> dict[str, str]:
    shown = figures.shown()
    return {
        "name": name,
        "top-1": shown["top-1, %"],
        "MB": "" if size is None else f"{size / 1e6:.1f}",
        "params": shown["parameters"],
        "MACs": shown["MACs an image"],
        "µJ": "" if figures.energy_uj is None else f"{figures.energy_uj:,.0f}",
    }


def _list_components(pattern: str, as_json: bool) -> None:
    registry = default_registry()
    rows = []
    for component in (part for part in registry.components() if fnmatchcase(part.name, pattern)):
        state, error = registry.status(component)
        row = {key: getattr(component, key) for key in ("kind", "name", "distribution", "version")}
        rows.append(row | {"state": str(state), "about": component.summary} | ({"error": error} if as_json else {}))
    if as_json or in_terminal():
        print_rows(rows, as_json)
    else:
        say(*(row["name"] for row in rows), sep="\n")
