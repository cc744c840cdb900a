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
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.cli.options import Json
from zoo.cli.output import counted, in_one_line, print_rows, say
from zoo.errors import ComponentError, UnknownComponentError, shorten, suggest
from zoo.registry.components import NOTEBOOK, OURS, Component, Registry, State, default_registry
from zoo.registry.installing import import_plugin

Row = dict[str, str]
OUTCOMES = ("passed", "failed", "skipped")
CODE = "import sys; from zoo.cli.plugins import report_problems; report_problems(int(sys.argv[1]), sys.argv[2])"

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
    probed = zip(default_registry().components(), probe_in_subprocess(timeout), strict=True)
    registry = Registry(replace(component, error=problem) for component, problem in probed)
    components = registry.components()
    print_rows([_row(registry, component, as_json) for component in components], as_json)
    unusable = [(component, reason) for component in components if (reason := registry.status(component)[1])]
    if not as_json:
        for component, reason in unusable:
            say("", f"{component.kind} {component.name} of {component.origin}:", in_one_line(reason), sep="\n")
    if unusable:
        raise typer.Exit(1)


def _row(registry: Registry, component: Component, as_json: bool) -> dict[str, Any]:
    """Describe a component that was probed."""
    state, reason = registry.status(component)
    row = {key: getattr(component, key) for key in ("kind", "name", "distribution", "version")}
    row["state"] = str(State.LOADED if state is State.AVAILABLE else state)
    return row | {"target": component.target, "error": reason} if as_json else row


def probe_in_subprocess(seconds: float) -> list[str | None]:
    """Load every component of the registry, in its order; return why it cannot be used, or None.

    One that ends the process, or is not loaded in time, is broken; the next ones are loaded in a new process.

    Args:
        seconds: after which a process is ended.
    """
    count = len(default_registry().components())
    problems: list[str | None] = []
    with tempfile.TemporaryDirectory() as folder:
        while len(problems) < count:
            report = Path(folder, str(len(problems)))
            report.touch()
            ending = _run(len(problems), report, seconds)
            problems += map(json.loads, report.read_text(encoding="utf-8").splitlines())
            if len(problems) < count:
                problems.append(ending)
    return problems


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


def report_problems(first: int, report: str) -> None:
    """Write what is wrong with each component from that number on, a line each, as soon as it is known."""
    from zoo.catalog.files import catalog_problems

    registry = default_registry()
    with warnings.catch_warnings(), open(report, "a", encoding="utf-8") as lines:
        warnings.simplefilter("ignore")
        problems = catalog_problems()
        for component in registry.components()[first:]:
            with suppress(ComponentError):  # kept in its error
                component.load()
            print(json.dumps(component.error or problems.get(component.origin)), file=lines, flush=True)


@plugins_app.command("check", epilog="Example: zoo plugins check zoo-luu")
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

    It installs and passes its tests at once; nothing is overwritten. Needs the
    plugin zoo-kit.
    """
    scaffold = import_plugin("zoo-kit", "zoo_kit.scaffold", "`zoo plugins new`")
    plugin = scaffold.draft(name, kind, component)
    folder = plugin.write(out)
    say(f"{folder}: the {plugin.kind} {plugin.component}")
    say(*(f"  {path}" for path in plugin.files()), "Next:", sep="\n")
    say(*(f"  {command}" for command in plugin.next_commands(folder)), sep="\n")
