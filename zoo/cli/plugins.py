"""`zoo plugins`: components and their states; `check` and `new` are the work of zoo-kit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import Json
from zoo.cli.output import counted, in_one_line, print_rows, say
from zoo.errors import ComponentError, UnknownComponentError, shorten, suggest
from zoo.registry.components import NOTEBOOK, OURS, State, default_registry
from zoo.registry.installing import import_plugin

Row = dict[str, str]
OUTCOMES = ("passed", "failed", "skipped")
CODE = "import sys; from zoo.cli.plugins import report_states; report_states(int(sys.argv[1]), sys.argv[2])"

plugins_app = typer.Typer(invoke_without_command=True, rich_markup_mode="rich", epilog="Example: zoo plugins")


@plugins_app.callback()
def plugins_command(
    context: typer.Context,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=1, help="End a plugin whose import takes longer.")
    ] = 60,
    as_json: Json = False,
) -> None:
    """Show the provider of every component and its state; check and write plugins.

    Alone it imports every component, in another process. States: loaded, broken
    (its import fails, crashes or hangs, or it is not such a component of this
    API version), conflict (several distributions claim its name). Exit status 1
    if a component cannot be used.
    """
    if context.invoked_subcommand is not None:
        return
    components = default_registry().components()
    checked = list(zip(components, probe_in_subprocess(timeout), strict=True))
    rows = []
    for component, (state, reason) in checked:
        row = {key: getattr(component, key) for key in ("kind", "name", "distribution", "version")}
        row["state"] = str(state)
        if as_json:
            row |= {"target": component.target, "error": reason}
        rows.append(row)
    print_rows(rows, as_json)
    unusable = [(component, reason) for component, (state, reason) in checked if state is not State.LOADED]
    if not as_json:
        for component, reason in unusable:
            say("", f"{component.kind} {component.name} of {component.origin}:", in_one_line(reason or ""), sep="\n")
    if unusable:
        raise typer.Exit(1)


def probe_in_subprocess(seconds: float) -> list[tuple[State, str | None]]:
    """Return state and reason of every component of the registry, in its order.

    One that ends the process, or is not loaded in time, is broken; the next ones are loaded in a new process.

    Args:
        seconds: after which a process is ended.
    """
    count = len(default_registry().components())
    states: list[tuple[State, str | None]] = []
    with tempfile.TemporaryDirectory() as folder:
        while len(states) < count:
            report = Path(folder, str(len(states)))
            report.touch()
            ending = _run(len(states), report, seconds)
            lines = report.read_text(encoding="utf-8").splitlines()
            states += [(State(state), reason) for state, reason in map(json.loads, lines)]
            if len(states) < count:
                states.append((State.BROKEN, ending))
    return states


def _run(first: int, report: Path, seconds: float) -> str:
    """Load the components from that number on in another process; return how it ended."""
    command = [sys.executable, "-c", CODE, str(first), str(report)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"its import was not done after {seconds:g} seconds (--timeout)"
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][-200:]
    return f"its import ends the process with status {done.returncode}" + (f": {last}" if last else "")


def report_states(first: int, report: str) -> None:
    """Write state and reason of each component from that number on, a line each, as soon as it is known."""
    from zoo.catalog.records import default_catalog

    registry = default_registry()
    with warnings.catch_warnings(), open(report, "a", encoding="utf-8") as lines:
        warnings.simplefilter("ignore")
        default_catalog()  # marks malformed catalogs of plugins
        for component in registry.components()[first:]:
            with suppress(ComponentError):  # kept in its state and error
                component.load()
            print(json.dumps(registry.status(component)), file=lines, flush=True)


@plugins_app.command("check", epilog="Example: zoo plugins check zoo-gray")
def check_command(
    distribution: Annotated[
        str | None, typer.Argument(metavar="DIST", help="An installed distribution; without one, every plugin.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the conformance kit on the components of a distribution, without a test file.

    Prints every check that fails, with its cause, the most basic first, and every
    one that is skipped; pytest runs in another process. Exit status 1 if a check failed. A test file that subclasses
    zoo_kit's suites checks more: it can name the decoder that inverts an
    encoder. Needs the plugin zoo-kit.
    """
    known = {component.distribution for component in default_registry().components()} - {NOTEBOOK}
    if distribution not in {None, *known}:
        problem = f"no installed distribution {shorten(str(distribution))} offers components"
        raise UnknownComponentError(f"{problem}{suggest(str(distribution), known)}")
    chosen = [distribution] if distribution else sorted(known - {OURS})
    if not chosen:
        say(f"no plugin is installed; `zoo plugins check {OURS}` checks the built-in components", file=sys.stderr)
        return
    check = import_plugin("zoo-kit", "zoo_kit.check", "`zoo plugins check`").check_distribution
    rows: list[Row] = [row for name in chosen for row in check(name)]
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


@plugins_app.command("new", epilog="Example: zoo plugins new zoo-sparkle --kind neuron")
def new_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The distribution, such as zoo-sparkle.")],
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="neuron, encoder, decoder, backbone, family, converter or weights.")
    ] = "neuron",
    component: Annotated[
        str | None, typer.Option(metavar="WORD", help="The component's name.  (default: NAME without its leading zoo-)")
    ] = None,
    into: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder in which the plugin's folder is made.")
    ] = Path(),
) -> None:
    """Write a complete plugin: one working component, tests on the kit, README, CI file.

    It installs and passes its tests at once; nothing is overwritten. Needs the
    plugin zoo-kit.
    """
    scaffold = import_plugin("zoo-kit", "zoo_kit.scaffold", "`zoo plugins new`")
    plugin = scaffold.draft(name, kind, component)
    folder = plugin.write(into)
    say(f"{folder}: the {plugin.kind} {plugin.component}")
    say(*(f"  {path}" for path in plugin.files()), "Next:", sep="\n")
    say(*(f"  {command}" for command in plugin.next_commands(folder)), sep="\n")
