"""`zoo list`: the models and the components that there are."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo.cli.options import Json
from zoo.cli.output import in_terminal, print_rows, weights_in_short
from zoo.registry.component import Component, State
from zoo.terminal import say

if TYPE_CHECKING:
    from zoo.catalog.catalog import Catalog


def list_command(
    filter: Annotated[
        str, typer.Argument(metavar="FILTER", help="Part of a name, or a shell pattern such as 'has8_*_bpd'.")
    ] = "*",
    family: Annotated[str | None, typer.Option(help="Of this family only, such as has8.")] = None,
    backbone: Annotated[str | None, typer.Option(help="On this backbone only, such as resnet.")] = None,
    encoder: Annotated[str | None, typer.Option(help="With this encoder only, such as fourier.")] = None,
    decoder: Annotated[str | None, typer.Option(help="With this decoder only, such as bpd.")] = None,
    neuron: Annotated[str | None, typer.Option(help="With this neuron only, such as lif.")] = None,
    pretrained: Annotated[bool, typer.Option("--pretrained", help="Trained weights only, as name.tag.")] = False,
    components: Annotated[
        bool, typer.Option("--components", help="The parts that names are made of: who provides them, what they are.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the models of the catalog; any other valid name can be built too.

    A table in a terminal; elsewhere one name a line.
    """
    pattern = filter if any(c in filter for c in "*?[") else f"*{filter}*"
    fields = {"family": family, "backbone": backbone, "encoder": encoder, "decoder": decoder, "neuron": neuron}
    if not components:
        _list_models(pattern, fields, pretrained, as_json)
    elif pretrained or any(fields.values()):
        raise typer.BadParameter("--components takes a FILTER and --json only; leave the options about models out")
    else:
        _list_components(pattern, as_json)


def _list_models(pattern: str, fields: dict[str, str | None], pretrained: bool, as_json: bool) -> None:
    from zoo.catalog.catalog import default_catalog, list_models

    names = list_models(
        pattern,
        family=fields["family"],
        backbone=fields["backbone"],
        encoder=fields["encoder"],
        decoder=fields["decoder"],
        neuron=fields["neuron"],
        pretrained=pretrained,
    )
    if not names:
        say(f"no model matches {pattern!r} with these options; `zoo list` shows all", file=sys.stderr)
    elif as_json or in_terminal():
        catalog = default_catalog()
        print_rows([_model_row(name, catalog, as_json) for name in names], as_json)
    else:
        say(*names, sep="\n")


def _model_row(name: str, catalog: Catalog, as_json: bool) -> dict[str, Any]:
    variant, _, tag = name.partition(".")
    records = [record for record in catalog.weights.get(variant, []) if tag in ("", record.tag)]
    exact = [{"tag": record.tag, "metrics": record.metrics} for record in records]
    weights = exact if as_json else weights_in_short(records)
    return {"name": name, "note": catalog.notes[variant], "weights": weights}


def _list_components(pattern: str, as_json: bool) -> None:
    from fnmatch import fnmatchcase

    from zoo.registry.docstrings import first_lines
    from zoo.registry.registry import default_registry

    registry = default_registry()
    chosen = [c for c in registry.components() if fnmatchcase(c.name, pattern)]
    about = first_lines(c.target for c in chosen)
    rows = [_component_row(c, *registry.status(c), about[c.target], as_json) for c in chosen]
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
