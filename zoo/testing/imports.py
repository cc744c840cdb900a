"""What importing a component's module does besides, seen in a fresh process."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from zoo.testing.checking import ConformanceError

LIBRARIES = ("torch", "numpy", "torchvision", "spikingjelly.activation_based.layer", "zoo.contracts.modules")
"""What the zoo itself imports; what these do is no plugin's doing."""

TIMEOUT = 300


def import_deeds(module: str, *, without_torch: bool = False) -> list[str]:
    """What importing `module` changes, prints or raises; an empty list for a clean one.

    Args:
        module: dotted name, importable by this process's `sys.path`.
        without_torch: import it where torch is not loaded yet, and say if it loads it.
    """
    return probe_imports((module,), without_torch)[module]


@functools.cache
def probe_imports(modules: tuple[str, ...], without_torch: bool = False) -> dict[str, list[str]]:
    """The same of several modules, imported in this order in one process.

    Raises:
        ConformanceError: an import ended the process, never ended, or left something that prints later.
    """
    before = () if without_torch else LIBRARIES
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")  # not standard output, where anybody may write until the process is gone
        _probe({"path": sys.path, "before": before, "modules": modules, "answer": str(answer)}, ", ".join(modules))
        found: dict[str, list[str]] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def _probe(request: Mapping[str, object], named: str) -> None:
    """Run import_probe.py on a request; `named` are its modules."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("import_probe.py"))]
    try:
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ConformanceError(f"importing {named} takes over {TIMEOUT} s; move the work into a function") from error
    if done.returncode or not Path(str(request["answer"])).is_file():
        raise ConformanceError(
            f"importing {named} ended the process with status {done.returncode}: {done.stderr.strip()[-500:]}"
        )
    if said := done.stdout.strip():
        raise ConformanceError(
            f"importing {named} leaves something behind that prints {said.splitlines()[0][:200]!r} later, in a thread "
            "or when the process ends (atexit); move that into a function"
        )
