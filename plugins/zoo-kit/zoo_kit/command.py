"""`zoo plugins check` and `zoo plugins new`."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.output import counted, in_one_line, print_rows, say
from zoo.commands import Json
from zoo.errors import UnknownComponentError, shorten, suggest
from zoo.registry.components import NOTEBOOK, OURS, default_registry
from zoo_kit.check import Row, check_distribution
from zoo_kit.scaffold import draft

OUTCOMES = ("passed", "failed", "skipped")

app = typer.Typer(rich_markup_mode="rich")


@app.command("check", epilog="Example: zoo plugins check zoo-luu")
def check_command(
    distribution: Annotated[
        str | None, typer.Argument(metavar="PACKAGE", help="An installed package; without one, every plugin.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the conformance kit on the components of a package, without a test file.

    Prints every check that fails, with its cause, the most basic first, and every
    one that is skipped; pytest runs in another process. Exit status 1 if a check
    failed. A test file that subclasses zoo_kit's suites checks more: it can name
    the decoder that inverts an encoder.
    """
    known = {component.distribution for component in default_registry().components()} - {NOTEBOOK}
    if distribution not in {None, *known}:
        problem = f"no installed package {shorten(str(distribution))} offers components"
        raise UnknownComponentError(f"{problem}{suggest(str(distribution), known)}")
    chosen = [distribution] if distribution else sorted(known - {OURS})
    if not chosen:
        say(f"no plugin is installed; `zoo plugins check {OURS}` checks the built-in components", file=sys.stderr)
        return
    rows = [row for name in chosen for row in check_distribution(name)]
    if as_json:
        print_rows(rows, as_json)
    else:
        _print_failures(rows)
    if any(row["outcome"] == "failed" for row in rows):
        raise typer.Exit(1)


def _print_failures(rows: list[Row]) -> None:
    """Print every failed check, those that may follow from it, every skipped one, and how many there are of each."""
    consequences = defaultdict(list)
    for row in rows:
        if row["consequence_of"]:
            consequences[row["kind"], row["name"], row["consequence_of"]].append(row["check"])
    for row in rows:
        if row["outcome"] == "passed" or row["consequence_of"]:
            continue
        fate = "fails" if row["outcome"] == "failed" else "skips"
        say(f"{row['kind']} {row['name']} {fate} {row['check']}: {in_one_line(row['message'])}")
        following = consequences[row["kind"], row["name"], row["check"]]
        if following:
            say(f"  and, perhaps for that reason: {', '.join(following)}")
    counts = Counter(row["outcome"] for row in rows)
    components = counted(len({(row["kind"], row["name"]) for row in rows}), "component")
    say(f"{components}: " + ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES))


@app.command("new", epilog="Example: zoo plugins new zoo-sparkle --kind neuron")
def new_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the package, such as zoo-sparkle.")],
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="A neuron, encoder, decoder, backbone, family, converter or weights.")
    ] = "neuron",
    component: Annotated[
        str | None, typer.Option(metavar="WORD", help="Name of its component.  (default: NAME without a leading zoo-)")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder in which the plugin's folder is made.")] = Path(),
) -> None:
    """Write a complete plugin: one working component, tests on the kit, README, CI file.

    It installs and passes its tests at once; nothing is overwritten.
    """
    plugin = draft(name, kind, component)
    folder = plugin.write(out)
    say(f"{folder}: the {plugin.kind} {plugin.component}")
    say(*(f"  {path}" for path in plugin.files()), "Next:", sep="\n")
    say(*(f"  {command}" for command in plugin.next_commands(folder)), sep="\n")
