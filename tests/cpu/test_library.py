"""Which compiled library is used: one that can be read and was built from the source beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from zoo import cpu
from zoo.cli import app
from zoo.cpu.library import library

FOLDER = Path(cpu.__path__[0])
NAME = "_kernels.compiled.so"
BUILT = FOLDER / NAME
RUN = """
import sys
from zoo import cpu
from zoo.cli import main
from zoo.cpu import library
if "predict" in sys.argv:
    from zoo.cpu import conv, functions, packed
cpu.__path__ = [sys.argv.pop(1)]
main()
"""
needs_library = pytest.mark.skipif(library() is None or not BUILT.is_file(), reason="no kernels were built here")


def run(folder: Path, *arguments: str, switch: str = "1") -> subprocess.CompletedProcess[str]:
    """Run `zoo` with the kernels of that folder."""
    command = [sys.executable, "-c", RUN, str(folder), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"ZOO_KERNELS": switch}
    )


def write_other_architecture(file: Path) -> None:
    header = bytearray(BUILT.read_bytes() if BUILT.is_file() else b"\x7fELF\x02\x01\x01" + bytes(57))
    header[18:20] = (0xF3).to_bytes(2, "little")  # e_machine: RISC-V
    file.write_bytes(header)


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "empty": lambda file: file.write_bytes(b""),
    "a folder": lambda file: file.mkdir(),
    "text": lambda file: file.write_text("not a library"),
    "of another architecture": write_other_architecture,
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_an_unreadable_library_is_named_and_not_used(kind: str, tmp_path: Path) -> None:
    UNREADABLE[kind](tmp_path / NAME)
    version = run(tmp_path, "--version")
    assert version.returncode == 0
    assert "no compiled kernels" in version.stdout
    assert NAME in version.stdout.replace("\n", "")


@needs_library
@pytest.mark.parametrize("changed", [False, True])
def test_a_library_of_another_source_is_not_used(changed: bool, tmp_path: Path) -> None:
    shutil.copy(BUILT, tmp_path)
    source = (FOLDER / "kernels.c").read_bytes()
    (tmp_path / "kernels.c").write_bytes(source + b"\n" if changed else source)
    version = run(tmp_path, "--version")
    assert version.returncode == 0
    assert ("no compiled kernels" in version.stdout) == changed


def test_without_kernels_the_definitions_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).write_bytes(b"")
    arguments = ("predict", "--json", "has8_resnet_b8_m2_d4_ste_bpd.cifar10")
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # last bits depend on it
    without = run(tmp_path, *arguments).stdout
    monkeypatch.setattr("zoo.cpu.functions.library", lambda: None)
    assert CliRunner().invoke(app, arguments).stdout == without != ""


@pytest.mark.parametrize("switch", ["yes", "2", ""])
def test_a_switch_that_is_neither_on_nor_off_is_refused(switch: str, tmp_path: Path) -> None:
    version = run(tmp_path, "--version", switch=switch)
    assert version.returncode not in (0, 1)
    assert "ZOO_KERNELS" in version.stderr
    assert "Traceback" not in version.stderr
