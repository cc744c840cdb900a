"""Processes of their own, in which the plugins of one folder are installed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

TIMEOUT = 280
RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


def run_python(
    code_or_args: str | Sequence[str | Path],
    target: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """A process that sees `target` before everything else.

    A string is code, a sequence is the arguments of `python`. The working folder is `target` unless given, so that
    nothing of a source tree is importable by accident.
    """
    arguments = ["-c", code_or_args] if isinstance(code_or_args, str) else [str(argument) for argument in code_or_args]
    environment = os.environ | {"PYTHONPATH": str(target), "OMP_NUM_THREADS": "1"} | dict(env or {})
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
        cwd=cwd or target,
        env=environment,
    )
