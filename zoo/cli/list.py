"""`zoo list`: models and components."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.options import Json
from zoo.cli.output import in_terminal, in_units, print_rows, say
from zoo.registry import Component, State

if TYPE_CHECKING:
    from zoo.catalog import Catalog, ListedModel

_OF_A_WEIGHT = frozenset({"tag", "metrics", "dataset", "recipe", "epochs", "seed", "control", "started_from", "sha256"})
"""What an object of `--json` says of each weight."""

_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9}


class SortedBy(StrEnum):
    """Figures that `zoo list` sorts by."""

    NAME = "name"
    PARAMS = "params"
    MACS_PER_TIMESTEP = "macs_per_timestep"
    MACS = "macs"
    TIMESTEPS = "timesteps"
    TOP1 = "top1"


def list_command(
    filter: Annotated[
        str, typer.Argument(metavar="FILTER", help="Part of a name, or a shell pattern such as 'has8_*_bpd'.")
    ] = "*",
    family: Annotated[str | None, typer.Option(metavar="NAME", help="Of this family only, such as has8.")] = None,
    backbone: Annotated[str | None, typer.Option(metavar="NAME", help="On this backbone only, such as resnet.")] = None,
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME", help="With this encoder only, such as fourier.")
    ] = None,
    decoder: Annotated[str | None, typer.Option(metavar="NAME", help="With this decoder only, such as bpd.")] = None,
    neuron: Annotated[str | None, typer.Option(metavar="NAME", help="With this neuron only, such as lif.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Trained weights only, as name.tag.")] = False,
    sort: Annotated[
        SortedBy | None,
        typer.Option(
            metavar="FIGURE",
            help=f"Sort by {', '.join(SortedBy)}: top1 from the highest down, the others from the lowest up.  "
            "(default: top1 in a terminal, else as the catalog lists them)",
        ),
    ] = None,
    max_params: Annotated[
        str | None, typer.Option(metavar="N", help="With at most N parameters, such as 500k, 2.5M.")
    ] = None,
    max_macs: Annotated[
        str | None, typer.Option(metavar="N", help="With at most N MACs an image, all timesteps, such as 100M, 1.8G.")
    ] = None,
    min_top1: Annotated[
        float | None, typer.Option(metavar="PERCENT", min=0, max=100, help="With a top-1 accuracy of at least PERCENT.")
    ] = None,
    components: Annotated[
        bool, typer.Option("--components", help="List the parts that names are made of, and who provides them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the models of the catalog; any other valid name can be built too.

    A table in a terminal; elsewhere one name a line, and with --json an object
    a line with exact figures. Behind the whole list stands which further names
    there are, such as those of a plugin's family, each as a pattern (in JSON an
    object with the key pattern). A weight's figures are its own. Those of a name
    without a weight are counted with 10 classes at 32 pixels a side. What a weight
    was trained on, its recipe, seed and control, and the hash of its file are in
    JSON, and in `zoo info NAME`.
    """
    pattern = filter if any(c in filter for c in "*?[") else f"*{filter}*"
    parts = {"family": family, "backbone": backbone, "encoder": encoder, "decoder": decoder, "neuron": neuron}
    bounds = {"max_params": _count(max_params), "max_macs": _count(max_macs), "min_top1": min_top1}
    if not components:
        _list_models(pattern, parts, pretrained, bounds, sort and sort.value, as_json)
    elif pretrained or sort or any(parts.values()) or any(bound is not None for bound in bounds.values()):
        raise typer.BadParameter("--components takes a FILTER and --json only; leave the options about models out")
    else:
        _list_components(pattern, as_json)


def _count(text: str | None) -> float | None:
    """`2.5M` → 2,500,000."""
    if text is None:
        return None
    unit = _UNITS.get(text[-1:].upper(), 1)
    try:
        return float(text[:-1] if text[-1:].upper() in _UNITS else text) * unit
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a number; valid: such as 500000, 500k, 2.5M, 1.8G") from None


def _list_models(
    pattern: str,
    parts: dict[str, str | None],
    pretrained: bool,
    bounds: dict[str, float | None],
    sort: str | None,
    as_json: bool,
) -> None:
    from zoo.catalog import default_catalog, list_rows, unlisted_components

    table = in_terminal() and not as_json
    rows = list_rows(pattern, parts, pretrained, bounds, sort or ("top1" if table else None))
    restricted = pretrained or any(parts.values()) or any(bound is not None for bound in bounds.values())
    if not restricted:
        rows += _unlisted(pattern)
    further = unlisted_components() if pattern in ("*", "**") and not restricted else []
    if not rows:
        say(f"no model matches {pattern!r} with these options; `zoo list` shows all", file=sys.stderr)
        for hint in _hints(pattern, parts):
            say(hint, file=sys.stderr)
    elif as_json:
        catalog = default_catalog()
        print_rows([_as_object(row, catalog) for row in rows], as_json)
        print_rows([_unlisted_object(*each) for each in further], as_json)
    elif table:
        print_rows([_in_short(row) for row in rows], as_json)
        say()
        if pretrained:
            say("Data, recipe, seed, control and SHA-256 of a weight: `zoo info NAME`; of all of")
            say("them: `zoo list --pretrained --json`.")
        say("Any other valid name can be built too, of the parts that `zoo list --components`")
        say("shows. Figures of names without a weight: 10 classes, 32 pixels a side.")
        for each in further:
            say(_in_a_line(*each))
    else:
        say(*(row.name for row in rows), sep="\n")


def _unlisted(pattern: str) -> list[ListedModel]:
    """Names that a family outside the catalogs lists, without figures."""
    from zoo.catalog import ListedModel, names_of_families

    return [ListedModel(name) for name in names_of_families(pattern)]


def _unlisted_object(pattern: str, component: Component) -> dict[str, Any]:
    return {
        "pattern": pattern,
        "kind": component.kind,
        "component": component.name,
        "distribution": component.distribution,
        "about": component.summary,
    }


def _in_a_line(pattern: str, component: Component) -> str:
    """`sj_*  what the family is`, of 80 columns at most."""
    sentence = (component.summary or "not described").partition(". ")[0].removesuffix(".")
    line = f"{pattern:<8} {component.kind} of {component.distribution}: {sentence}"
    return line if len(line) <= 80 else f"{line[:79].rstrip()}…"


def _hints(pattern: str, parts: Mapping[str, str | None]) -> Iterator[str]:
    """Name what builds names that no catalog lists, if the pattern or an option such as --neuron asks for it."""
    from zoo.catalog import unlisted_components

    words = {word for word in re.split(r"[^a-z0-9]+", pattern) if word}
    asked = {(kind, (name or "").rpartition(":")[2]) for kind, name in parts.items()}
    for unlisted, component in unlisted_components():
        begins = component.kind == "family" and any(component.name.startswith(word) for word in words)
        if begins or component.name in words or (component.kind, component.name) in asked:
            builds = f"builds names that no catalog lists: {unlisted}"
            yield f"the {component.kind} {component.name} {builds} ({component.distribution})"


def _as_object(row: ListedModel, catalog: Catalog) -> dict[str, Any]:
    variant, _, tag = row.name.partition(".")
    records = [record for record in catalog.weights.get(variant, []) if tag in ("", record.tag)]
    weights = [record.model_dump(include=set(_OF_A_WEIGHT)) for record in records]
    figures = {key: value for key, value in asdict(row).items() if key != "name"}
    return {"name": row.name, "note": catalog.notes.get(variant, ""), **figures, "weights": weights}


def _in_short(row: ListedModel) -> dict[str, str]:
    """A row that fits 80 columns."""
    return {
        "name": row.name,
        "params": in_units(row.params),
        "MACs\nper T": in_units(row.macs_per_timestep),
        "MACs": in_units(row.macs),
        "T": "" if row.timesteps is None else str(row.timesteps),
        "top-1": "" if row.top1 is None else f"{row.top1:.2f}",
    }


def _list_components(pattern: str, as_json: bool) -> None:
    from fnmatch import fnmatchcase

    from zoo.registry import default_registry

    registry = default_registry()
    chosen = [c for c in registry.components() if fnmatchcase(c.name, pattern)]
    rows = [_component_row(c, *registry.status(c), c.summary, as_json) for c in chosen]
    if as_json or in_terminal():
        print_rows(rows, as_json)
    else:
        for row in rows:
            say(*(str(value or "") for value in row.values()), sep="\t")


def _component_row(
    component: Component, state: State, reason: str | None, about: str | None, as_json: bool
) -> dict[str, Any]:
    """A row of `zoo list --components`: in JSON why a component cannot be used stands apart from what it is."""
    row = {
        "kind": component.kind,
        "name": component.name,
        "distribution": component.distribution,
        "version": component.version,
        "state": str(state),
    }
    if as_json:
        return row | {"about": about, "error": reason}
    lacking = reason if state is State.INCOMPLETE else None
    return row | {"about": "; ".join(text for text in (about and about.removesuffix("."), lacking) if text)}
