"""What importing a component's module does besides, seen in a fresh process."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, final

from zoo.testing.outcome import ConformanceError

LIBRARIES = ("torch", "numpy", "torchvision", "spikingjelly.activation_based.layer", "zoo.contracts.classifier")
"""What the zoo itself imports; what these do is not a plugin's doing."""

TIMEOUT = 300.0
"""Seconds that one import may take in the conformance kit."""

_PAUSE = 0.05
_TAIL = 2000


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
    probe = run_probe(TIMEOUT, before=() if without_torch else LIBRARIES, modules=modules)
    if probe.problem:
        culprit = ", ".join(modules) if probe.begun is None else modules[probe.begun]
        advice = f": {probe.stderr.strip()[-500:]}" if probe.stderr.strip() else "; move the work into a function"
        raise ConformanceError(f"importing {culprit} {probe.problem}{advice}")
    if output := probe.stdout.strip():
        raise ConformanceError(
            f"importing {', '.join(modules)} leaves something behind that prints {output.splitlines()[0][:200]!r} "
            "later, in a thread or when the process ends (atexit); move that into a function"
        )
    return {module: probe.answers[index]["deeds"] for index, module in enumerate(modules)}


@final
@dataclass(frozen=True)
class Probe:
    """What a process told that imported something.

    Attributes:
        answers: of every module or component, by its index, whose import ended.
        begun: the index of the one whose import did not end; None where that is not known.
        problem: how the process ended before it had told everything; None where it had.
        stdout: the end of what it printed that no answer accounts for.
        stderr: likewise.
        results: of the checks that ended, in their order.
    """

    answers: dict[int, dict[str, Any]]
    begun: int | None
    problem: str | None
    stdout: str
    stderr: str
    results: Sequence[dict[str, str]] = ()


def run_probe(
    limit: float,
    before: Sequence[str] = (),
    modules: Sequence[str] = (),
    components: Sequence[Sequence[str]] = (),
    check: bool = False,
) -> Probe:
    """Run import_probe.py, at most `limit` seconds for each import, or each check; see there for the arguments."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("import_probe.py"))]
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryFile() as stdout,  # no pipes: whoever inherits one would keep this process waiting
        tempfile.TemporaryFile() as stderr,
        tempfile.TemporaryFile() as stdin,
    ):
        answer = Path(folder, "answer.jsonl")
        request = {"path": sys.path, "before": before, "modules": modules, "components": components, "check": check}
        stdin.write(json.dumps(request | {"answer": str(answer)}).encode())
        stdin.seek(0)
        process = subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)
        try:
            in_time = _wait(process, answer, limit)
        finally:
            _end(process)
        lines = _lines(answer)
        answers = {line["ended"]: line for line in lines if "ended" in line}
        results = [line["result"] for line in lines if "result" in line]
        begun = max((line["begun"] for line in lines if "begun" in line), default=None)
        complete = len(answers) == len(modules) + len(components)
        if in_time and process.returncode == 0 and complete:
            problem = None
        else:
            problem = f"ended the process with {_status(process.returncode)}" if in_time else f"takes over {limit:g} s"
        unended = None if begun in answers else begun
        return Probe(answers, unended, problem, _tail(stdout), _tail(stderr), results)


def _wait(process: subprocess.Popen[bytes], answer: Path, limit: float) -> bool:
    """Whether the process ends, and tells something new at least every `limit` seconds once it is ready."""
    size, last = 0, time.monotonic()
    while process.poll() is None:
        new_size = answer.stat().st_size if answer.exists() else 0
        if new_size != size:
            size, last = new_size, time.monotonic()
        if time.monotonic() - last > (limit if size else TIMEOUT):
            return False
        time.sleep(_PAUSE)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process, and on POSIX whatever it started."""
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):  # all of them have ended
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _lines(answer: Path) -> list[dict[str, Any]]:
    """The whole lines of an answer; the last one may have been cut off."""
    text = answer.read_text(encoding="utf-8") if answer.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def _status(code: int) -> str:
    """`status 3`, or `signal SIGSEGV (Segmentation fault)`."""
    if code >= 0:
        return f"status {code}"
    try:
        return f"signal {signal.Signals(-code).name} ({signal.strsignal(-code)})"
    except ValueError:  # a real-time signal
        return f"signal {-code}"


def _tail(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read()[-_TAIL:].decode(errors="replace")
