"""`zoo plugins`: components and their states; `check` runs the conformance kit, `new` writes a plugin."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree

import typer

from zoo.cli.loading import states_apart
from zoo.cli.options import Json
from zoo.cli.output import counted, in_one_line, print_rows, say
from zoo.errors import MissingExtraError, UnknownComponentError, shorten, suggest
from zoo.installing import install_extra
from zoo.registry import NOTEBOOK, OURS, State, default_registry

Row = dict[str, str]
OUTCOMES = ("passed", "failed", "skipped")
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", "-W", "ignore")

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
    checked = list(zip(components, states_apart(timeout), strict=True))
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


@plugins_app.command("check", epilog="Example: zoo plugins check zoo-gray")
def check_command(
    distribution: Annotated[
        str | None, typer.Argument(metavar="DIST", help="An installed distribution; without one, every plugin.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the conformance kit on the components of a distribution, without a test file.

    Prints every check that fails, with its cause; pytest runs in another
    process. Exit status 1 if a check failed. A test file that subclasses
    zoo.testing's suites checks more: it can name the decoder that inverts an
    encoder.
    """
    known = {component.distribution for component in default_registry().components()} - {NOTEBOOK}
    if distribution not in {None, *known}:
        told = f"no installed distribution {shorten(str(distribution))} offers components"
        raise UnknownComponentError(f"{told}{suggest(str(distribution), known)}")
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
    """Print every failed check, then how many there are of each outcome."""
    for row in rows:
        if row["outcome"] == "failed":
            say(f"{row['kind']} {row['name']} fails {row['check']}: {in_one_line(row['message'])}")
    counts = Counter(row["outcome"] for row in rows)
    components = counted(len({(row["kind"], row["name"]) for row in rows}), "component")
    say(f"{components}: " + ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES))


def check_distribution(distribution: str) -> list[Row]:
    """Run the suites of every component of an installed distribution, by pytest in another process.

    Returns:
        One row a check: kind, name, check, outcome (passed, failed or skipped), message (the first cause of a
        failure, or the reason of a skip). One row for a component that does not load, and for a distribution that
        ends the process.

    Raises:
        MissingExtraError: pytest is not installed.
    """
    code = f"from zoo.testing import suites_of\nglobals().update(suites_of({distribution!r}))\n"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        Path(folder, "test_components.py").write_text(code, encoding="utf-8")
        report = Path(folder, "report.xml")
        command = [sys.executable, *PYTEST, f"--rootdir={folder}", f"--junitxml={report}", folder]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if "No module named pytest" in done.stderr:
            raise MissingExtraError(f"the conformance kit needs pytest; {install_extra('testing')}")
        if done.returncode not in (0, 1) or not report.exists():
            said = f"pytest ended with status {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
            names = {"kind": "distribution", "name": distribution, "check": "pytest_ends"}
            return [names | {"outcome": "failed", "message": said}]
        rows = [_row(case, distribution) for case in ElementTree.parse(report).iter("testcase")]
    unloaded = {(row["kind"], row["name"]) for row in rows if (row["check"], row["outcome"]) == ("it_loads", "failed")}
    return [row for row in rows if (row["kind"], row["name"]) not in unloaded or row["check"] == "it_loads"]


def _row(case: ElementTree.Element, distribution: str) -> Row:
    _, kind, name = case.attrib["classname"].rpartition(".")[2].split("__", 2)
    outcome, message = "passed", ""
    for child in case:
        if child.tag in ("failure", "error", "skipped"):
            outcome = "skipped" if child.tag == "skipped" else "failed"
            message = child.attrib.get("message", "").removeprefix("AssertionError: ").partition("\nassert ")[0]
    check = case.attrib["name"].removeprefix("test_")
    return {"kind": kind, "name": f"{distribution}:{name}", "check": check, "outcome": outcome, "message": message}


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

    It installs and passes its tests at once; nothing is overwritten.
    """
    from zoo.scaffold import draft

    plugin = draft(name, kind, component)
    folder = plugin.write(into)
    say(f"{folder}: the {plugin.kind} {plugin.component}")
    say(*(f"  {path}" for path in plugin.files()), "Next:", sep="\n")
    say(*(f"  {command}" for command in plugin.next_commands(folder)), sep="\n")
