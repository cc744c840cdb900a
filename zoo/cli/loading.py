"""Load every component in a process of its own, so that `zoo plugins` survives one that crashes, ends it or hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path

from zoo.errors import ComponentError
from zoo.registry import State, default_registry

CODE = "import sys; from zoo.cli.loading import report_states; report_states(int(sys.argv[1]), sys.argv[2])"


def states_apart(seconds: float) -> list[tuple[State, str | None]]:
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
    from zoo.catalog import default_catalog

    registry = default_registry()
    with warnings.catch_warnings(), open(report, "a", encoding="utf-8") as lines:
        warnings.simplefilter("ignore")
        default_catalog()  # marks malformed catalogs of plugins
        for component in registry.components()[first:]:
            with suppress(ComponentError):  # kept in its state and error
                component.load()
            print(json.dumps(registry.status(component)), file=lines, flush=True)
