"""What importing a component's module does besides, seen in a fresh process."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
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
        ConformanceError: an import ended the process or never ended.
    """
    before = () if without_torch else LIBRARIES
    request = {"path": sys.path, "before": before, "modules": modules}
    command = [sys.executable, "-P", "-W", "ignore", str(Path(__file__).with_name("import_probe.py"))]
    named = ", ".join(modules)
    try:
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ConformanceError(f"importing {named} takes over {TIMEOUT} s; move the work into a function") from error
    if done.returncode or not done.stdout:
        raise ConformanceError(
            f"importing {named} ended the process with status {done.returncode}: {done.stderr.strip()[-500:]}"
        )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found
