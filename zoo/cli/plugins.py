"""`zoo plugins`: components and their states; `check` and `new` are the work of zoo-kit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from zoo.cli.options import Json
from zoo.cli.output import in_one_line, print_rows, say
from zoo.errors import ComponentError
from zoo.registry.components import Component, Registry, State, default_registry
from zoo.registry.installing import import_plugin, is_installed

OF_THE_KIT = ("check", "new")
CODE = "import sys; from zoo.cli.plugins import report_problems; report_problems(int(sys.argv[1]), sys.argv[2])"


@final
class PluginCommands(TyperGroup):
    """The command `zoo plugins`, two of whose own commands are in zoo-kit."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List those commands if zoo-kit is installed."""
        return [*super().list_commands(ctx), *(OF_THE_KIT if is_installed("zoo-kit") else ())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find a command; raises `MissingPluginError` for one of zoo-kit if that is not installed."""
        if cmd_name not in OF_THE_KIT:
            return super().get_command(ctx, cmd_name)
        kit = import_plugin("zoo-kit", "zoo_kit.command", f"`zoo plugins {cmd_name}`")
        return get_command(kit.app).get_command(ctx, cmd_name)  # type: ignore[attr-defined] # a group


plugins_app = typer.Typer(
    cls=PluginCommands, invoke_without_command=True, rich_markup_mode="rich", epilog="Example: zoo plugins"
)


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
    API version), conflict (several packages claim its name). Exit status 1
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
