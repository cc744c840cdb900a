"""`zoo plugins`: who provides what and whether it works; `check` runs the conformance kit, `new` writes a plugin."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zoo.cli.options import Json, PlainCommand, PlainGroup
from zoo.cli.output import counted, in_one_line, print_rows
from zoo.errors import UnknownComponentError, suggest
from zoo.progress import progress
from zoo.registry import OURS, Component
from zoo.terminal import say

if TYPE_CHECKING:
    from zoo.testing import CheckResult

Seconds = Annotated[
    float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="How long the import of a plugin may take.")
]

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
    seconds: Seconds = 30,
    as_json: Json = False,
) -> None:
    """Say who provides every component and whether it works; check and write plugins.

    Alone it imports every component, those of plugins in another process, so
    that one which ends or hangs is named too. States: loaded, broken (its
    import fails, or it is not such a component), incompatible (written for
    another API version), conflict (several distributions claim its name),
    disabled (by the environment variable ZOO_DISABLE_PLUGINS: distributions or
    names between commas), incomplete (an extra of has8-zoo that it needs is not
    installed).
    Exit status 1 where one cannot be used, though all of it is installed.
    """
    if context.invoked_subcommand is None:
        _list(verbose, seconds, as_json)


def _list(verbose: bool, seconds: float, as_json: bool) -> None:
    from zoo.catalog.catalog import default_catalog
    from zoo.registry import DISABLE, State, default_registry, disabled_names, idle_switches

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
    from zoo.registry import NOTEBOOK, State

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
    seconds: Seconds = 30,
    as_json: Json = False,
) -> None:
    """Run the conformance kit on the components of a distribution, without a test file.

    Every failed check says what the author should do; checks that fail for the
    same cause are told together. Plugins are imported and checked in another
    process, so that one which ends or hangs is named too. Exit status 1 where a
    check failed. A test file that subclasses zoo.testing's suites checks more:
    it can give a reference, and the decoder that inverts an encoder.
    """
    from zoo.testing import Outcome

    chosen = _to_check(distribution)
    if not chosen:
        say(f"no plugin is installed; `zoo plugins check {OURS}` checks the built-in components", file=sys.stderr)
        return
    _probe_plugins(chosen, seconds)
    results: list[CheckResult] = []
    with progress("checking", len(chosen), visible=not as_json) as advance:
        for component in chosen:
            results += _check(component)
            advance(1)
    failed = [result for result in results if result.outcome is Outcome.FAILED]
    if as_json:
        print_rows([result.to_json() for result in results], as_json)
    else:
        _print_failures(failed)
        if verbose:
            _print_others([result for result in results if result.outcome is not Outcome.FAILED])
        counts = Counter(result.outcome for result in results)
        say(f"{counted(len(chosen), 'component')}: " + ", ".join(f"{counts[o]} {o}" for o in Outcome))
    if failed:
        raise typer.Exit(1)


def _to_check(distribution: str | None) -> list[Component]:
    """The components of a distribution, or those of every plugin; raises `UnknownComponentError`."""
    from zoo.registry import default_registry

    components = default_registry().components()
    if distribution is None:
        return [component for component in components if component.distribution != OURS]
    chosen = [component for component in components if component.distribution == distribution]
    if not chosen:
        known = {component.distribution for component in components}
        raise UnknownComponentError(
            f"no installed distribution {distribution!r} offers components"
            f"{_install_it(distribution) or suggest(distribution, known)}"
        )
    return chosen


def _install_it(distribution: str) -> str:
    """How to install a plugin whose folder lies here; '' where there is none."""
    name = Path(distribution).name
    if not (Path(name) / "pyproject.toml").is_file():
        return ""
    return f"; the folder {name} is here: pip install -e ./{name} first, then zoo plugins check {name}"


def _check(component: Component) -> list[CheckResult]:
    """A plugin's in another process; the zoo's own, and what was registered in this process, here."""
    from zoo.registry import NOTEBOOK
    from zoo.testing import check_component
    from zoo.testing.component_probe import check_elsewhere

    here = component.distribution in (OURS, NOTEBOOK) or component.kind == "catalog"
    return check_component(component) if here else check_elsewhere(component)


def _print_failures(failed: Sequence[CheckResult]) -> None:
    """Each cause once, in lines of 80 columns, with the checks that it fails."""
    causes: dict[tuple[str, str, str], list[CheckResult]] = {}
    for result in failed:
        causes.setdefault((result.kind, result.name, _cause(result.message)), []).append(result)
    for results in causes.values():
        first = results[0]
        say(f"{first.kind} {first.name} fails {first.check}")
        say(*_folded(in_one_line(first.message)), sep="\n")
        if results[1:]:
            say(f"  {counted(len(results) - 1, 'more check')} {'fail' if results[2:] else 'fails'} for the same cause")
        say()


def _cause(message: str) -> str:
    """What a component raised, whatever was attempted with it; else the whole message."""
    return message.partition(" raises ")[2] or message


def _print_others(results: Sequence[CheckResult]) -> None:
    for result in results:
        say(f"{result.kind} {result.name}: {result.outcome} {result.check}")
        if result.message:
            say(*_folded(result.message), sep="\n")


def _folded(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 76, initial_indent="  ", subsequent_indent="  ") or [""]


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
