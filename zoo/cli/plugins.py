"""`zoo plugins`: who provides what and whether it works; `check` runs the conformance kit, `new` writes a plugin."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from zoo.cli.options import Json, PlainCommand, PlainGroup
from zoo.cli.output import print_rows, progress
from zoo.errors import UnknownComponentError, suggest
from zoo.registry.component import OURS, Component
from zoo.terminal import say

plugins_app = typer.Typer(
    cls=PlainGroup,
    invoke_without_command=True,
    no_args_is_help=False,
    rich_markup_mode="rich",
    epilog="Example: zoo plugins --verbose",
)


@plugins_app.callback()
def plugins_command(
    context: typer.Context,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show whole tracebacks, not only their last lines.")
    ] = False,
    seconds: Annotated[
        float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="How long the import of a plugin may take.")
    ] = 30,
    as_json: Json = False,
) -> None:
    """Say who provides every component and whether it works; check and write plugins.

    Alone it imports every component, those of plugins in another process, so
    that one which ends or hangs is named too. States: loaded, broken (its
    import fails, or it is not such a component), incompatible (written for
    another API version), conflict (several distributions claim its name),
    refused (its distribution calls itself has8-zoo), disabled (by the
    environment variable ZOO_DISABLE_PLUGINS: distributions or names between
    commas), incomplete (an extra of has8-zoo that it needs is not installed).
    Exit status 1 where one cannot be used, though all of it is installed.
    """
    if context.invoked_subcommand is None:
        _list(verbose, seconds, as_json)


def _list(verbose: bool, seconds: float, as_json: bool) -> None:
    from zoo.catalog.catalog import default_catalog
    from zoo.registry.registry import DISABLE, State, default_registry, disabled_names, idle_switches

    registry = default_registry()
    default_catalog()  # reads the catalogs of plugins, so that a malformed one is known
    _probe_plugins(registry.components(), seconds)
    checked = [(c, *registry.status(c)) for c in registry.check()]
    rows = [
        {"kind": c.kind, "name": c.name, "distribution": c.distribution, "version": c.version, "state": str(state)}
        | ({"target": c.target, "error": reason} if as_json else {})
        for c, state, reason in checked
    ]
    print_rows(rows, as_json)
    for name in idle_switches(registry.components(), disabled_names()):
        say(f"note: {name!r} in {DISABLE} matches nothing that is installed", file=sys.stderr)
    told_of = [(c, state, reason or "") for c, state, reason in checked if state not in (State.LOADED, State.DISABLED)]
    for component, _, reason in told_of:
        if not as_json:
            lines = reason.splitlines() if verbose else reason.strip().splitlines()[-1:]
            say("", f"{component.kind} {component.name} of {component.origin}:", *lines, sep="\n")
    if any(state is not State.INCOMPLETE for _, state, _ in told_of):
        raise typer.Exit(1)


def _probe_plugins(components: Iterable[Component], seconds: float) -> None:
    """Find out in other processes what becomes of the plugins' components; the zoo's own can be trusted."""
    from zoo.registry.registry import NOTEBOOK, State

    ours = (OURS, NOTEBOOK)
    plugins = [c for c in components if c.state is State.AVAILABLE and c.kind != "catalog"]
    if plugins := [c for c in plugins if c.distribution not in ours]:
        from zoo.testing.component_probe import probe_components

        probe_components(plugins, seconds)


@plugins_app.command("check", cls=PlainCommand, epilog="Example: zoo plugins check zoo-gray")
def check_command(
    distribution: Annotated[
        str | None, typer.Argument(metavar="DIST", help="An installed distribution; without one, every plugin.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show the checks that passed or were left out too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the conformance kit on the components of a distribution, without a test file.

    Every failed check says what the author should do. Exit status 1 where one
    failed. A test file that subclasses zoo.testing's suites checks more: it
    can give a reference, and the decoder that inverts an encoder.
    """
    from zoo.registry.registry import default_registry
    from zoo.testing import Outcome, check_component

    installed = [
        component
        for component in default_registry().components()
        if component.distribution == (distribution or component.distribution)
    ]
    chosen = installed if distribution else [component for component in installed if component.distribution != OURS]
    if distribution and not chosen:
        known = {c.distribution for c in default_registry().components()}
        raise UnknownComponentError(
            f"no installed distribution {distribution!r} offers components{suggest(distribution, known)}"
        )
    if not chosen:
        say(f"no plugin is installed; `zoo plugins check {OURS}` checks the built-in components", file=sys.stderr)
        return
    results = []
    with progress(len(chosen), visible=not as_json, doing="checking", unit=None) as advance:
        for component in chosen:
            results += check_component(component)
            advance(1)
    rows = results if verbose or as_json else [r for r in results if r.outcome is Outcome.FAILED]
    if rows:
        print_rows([result.to_json() for result in rows], as_json)
    counts = Counter(result.outcome for result in results)
    if not as_json:
        summary = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome)
        say(f"{len(chosen)} components: {summary}")
    if counts[Outcome.FAILED]:
        raise typer.Exit(1)


@plugins_app.command("new", cls=PlainCommand, epilog="Example: zoo plugins new zoo-sparkle --kind neuron")
def new_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The distribution, such as zoo-sparkle.")],
    kind: Annotated[str, typer.Option(metavar="KIND", help="neuron, encoder, decoder, backbone or family.")] = "neuron",
    component: Annotated[
        str | None,
        typer.Option(metavar="WORD", help="The component's name.  (default: NAME without its leading zoo-)"),
    ] = None,
    into: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder in which the plugin's folder is made.")
    ] = Path(),
) -> None:
    """Write a complete plugin: one working component, tests on the kit, README, CI file.

    It installs, passes and works in a model at once; nothing is written over.
    """
    from zoo.scaffold import draft

    plugin = draft(name, kind, component)
    folder = plugin.write(into)
    say(f"{folder}: the {plugin.kind} {plugin.component}")
    for path in plugin.files():
        say(f"  {path}")
    say("Next:")
    for command in plugin.next_commands(folder):
        say(f"  {command}")
