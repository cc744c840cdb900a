"""Calls of the command line."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner, Result

from zoo.cli import app

TINY = "has8_resnet_b1_m1_d1_ste_bpd"
LABELS = ["plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zoo", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
    )


def objects(result: Result) -> list[dict]:
    """One JSON object a line, and nothing else."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def in_terminal(command: list[str], stdout: int | None = None, columns: int = 100) -> tuple[str, str]:
    """Run a process; returns its text in a terminal, without bold and the like, and in `stdout` if that is a pipe."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "xterm"}
    piped = theirs if stdout is None else stdout
    with subprocess.Popen(command, stdout=piped, stderr=theirs, stdin=theirs, env=environment) as process:
        os.close(theirs)
        shown = b"".join(iter(lambda: _read(ours), b""))
        printed = process.stdout.read() if process.stdout else b""
    os.close(ours)
    assert process.returncode == 0, shown
    return re.sub(r"\x1b\[[012]?m", "", shown.decode()), printed.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end has closed
        return b""
