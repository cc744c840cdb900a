"""Seeded faults that the tests must catch: `python -m tests.mutations` prints each, and caught / total.

Every fault is one replacement in a temporary copy of zoo/: a sign, an off-by-one, a swapped plane, a skipped hash, a
dropped `eval()`. The test files that mutations.yaml names run on the copy, by pytest in a process of its own, until one
fails. The definitions are tested, not the compiled kernels. Exit status 1 if more than four survive; ten minutes on one
core. A fault whose line is gone counts as one that survives.

    python -m tests.mutations            # all of them
    python -m tests.mutations neurons    # those in files whose name contains a word
    python -m tests.mutations --list     # those whose line is gone, without a test
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).parents[1]
LIBRARIES = ("pytest", "hypothesis", "torch", "timm", "spikingjelly.activation_based.neuron")
"""Imported once, not in every process."""

MOST_SURVIVORS = 4


class Fault(NamedTuple):
    """One replacement in a file of zoo/, whose old text occurs once, and the tests that should catch it."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def read_faults() -> list[Fault]:
    """Return the faults of mutations.yaml."""
    content = yaml.safe_load((ROOT / "tests" / "mutations.yaml").read_text(encoding="utf-8"))
    return [Fault(file, old, new, tuple(content["tests"][group])) for file, old, new, group in content["faults"]]


def source(fault: Fault) -> str | None:
    """Return the file of a fault if its old text occurs once in it, else None."""
    file = ROOT / "zoo" / fault.file
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return text if text.count(fault.old) == 1 else None


def copy(folder: Path) -> None:
    """Copy zoo/ and link everything else beside it."""
    shutil.copytree(ROOT / "zoo", folder / "zoo", ignore=shutil.ignore_patterns("__pycache__", "_kernels.*"))
    for path in ROOT.iterdir():
        if path.name not in ("zoo", ".venv", ".git", ".pytest_cache", ".hypothesis"):
            (folder / path.name).symlink_to(path)


def run_tests(folder: Path, tests: tuple[str, ...]) -> int:
    """Run tests on the copy in a forked process; returns pytest's exit status, 0 if all pass. A hang is a failure."""
    process = os.fork()
    if not process:
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts it in the background ignores it
        os.chdir(folder)
        # An editable install may have a finder of its own, which would find the original.
        sys.meta_path[:] = [finder for finder in sys.meta_path if not re.search("Editable|ScikitBuild", repr(finder))]
        sys.path[:] = [str(folder), *(path for path in sys.path if Path(path).resolve() != ROOT)]
        for name in [name for name in sys.modules if name.partition(".")[0] in ("zoo", "tests")]:
            del sys.modules[name]
        import pytest

        options = ["-x", "-q", "-p", "no:cacheprovider", "--disable-warnings", f"--rootdir={folder}", "-m", "not slow"]
        os._exit(int(pytest.main([*options, *tests])))
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main() -> None:
    """Try every fault, and print what became of it."""
    words = sys.argv[1:]
    if words == ["--list"]:
        gone = [f"GONE      zoo/{fault.file}: {fault.old!r}" for fault in read_faults() if source(fault) is None]
        print(*gone, f"{len(gone)} of {len(read_faults())} gone", sep="\n")
        raise SystemExit(bool(gone))
    chosen = [fault for fault in read_faults() if not words or any(word in fault.file for word in words)]
    for name in LIBRARIES:
        importlib.import_module(name)
    survivors = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        copy(folder)
        for tests in dict.fromkeys(fault.tests for fault in chosen):
            if run_tests(folder, tests):
                raise SystemExit(f"{', '.join(tests)} fail without a fault:\n{(folder / 'log.txt').read_text('utf-8')}")
        for fault in chosen:
            text, verdict = source(fault), "GONE    "
            if text is not None:
                (folder / "zoo" / fault.file).write_text(text.replace(fault.old, fault.new), encoding="utf-8")
                verdict = "caught  " if run_tests(folder, fault.tests) else "SURVIVED"
                (folder / "zoo" / fault.file).write_text(text, encoding="utf-8")
            survivors += [] if verdict == "caught  " else [fault]
            print(f"{verdict}  zoo/{fault.file}: {fault.old.strip()!r} → {fault.new.strip()!r}", flush=True)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} caught")
    raise SystemExit(len(survivors) > MOST_SURVIVORS)


if __name__ == "__main__":
    main()
