"""A registry.yaml whose writers are killed, run out of disk, or write at the same time."""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import signal
import sys
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from tests.hub.hub_weights import files_below, in_process, start, tiny
from zoo.catalog import pins
from zoo.catalog.catalog import catalog_path, read_file
from zoo.catalog.sources import HubRepository
from zoo.hub.publish import write_pin

pytestmark = pytest.mark.usefixtures("removed_locks")

DIGITS = "abcdef"


def published(digit: str) -> HubRepository:
    return HubRepository("alice/tiny", digit * 40)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A copy of the zoo's own registry.yaml in which the tiny weight is pinned too."""
    file = tmp_path / "registry.yaml"
    shutil.copyfile(catalog_path(), file)
    write_pin(file, tiny()[0], published("a"))
    return file


def write_for_ever(catalog: Path) -> None:
    for digit in itertools.cycle(DIGITS):
        write_pin(catalog, tiny()[0], published(digit))


@pytest.mark.parametrize("seconds", [0.05, 0.15, 0.3])
def test_a_writer_that_is_killed_leaves_the_old_or_the_new(catalog: Path, seconds: float) -> None:
    before = catalog.read_text(encoding="utf-8")
    outcome = in_process(lambda: write_for_ever(catalog), kill_after=seconds)
    assert outcome.exitcode == -9
    allowed = [before.replace("a" * 40, digit * 40) for digit in DIGITS]
    assert catalog.read_text(encoding="utf-8") in allowed
    write_pin(catalog, tiny()[0], published("f"))  # its lock died with it
    assert catalog.read_text(encoding="utf-8") == allowed[-1]


def killed_at(moment: int, catalog: Path) -> None:
    """Write one pin, and die before the line that comes at this moment: of the last step, or of a write in it."""
    lines = itertools.count()
    traced = {pins._replace.__code__, Path.write_text.__code__, Path.write_bytes.__code__, Path.open.__code__}

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code in traced and event == "line" and next(lines) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    write_pin(catalog, tiny()[0], published("b"))


@pytest.mark.slow
def test_there_is_no_line_at_which_a_kill_leaves_half_a_file(catalog: Path) -> None:
    before = catalog.read_text(encoding="utf-8")
    allowed = [before, before.replace("a" * 40, "b" * 40)]
    seen = []
    for moment in itertools.count():
        outcome = in_process(partial(killed_at, moment, catalog))
        seen.append(allowed.index(catalog.read_text(encoding="utf-8")))
        catalog.write_text(before, encoding="utf-8")
        if outcome.exitcode != -9:
            break
    assert seen == sorted(seen)
    assert (outcome.error, seen[0], seen[-1]) == ("", 0, 1)
    assert len(seen) > 10


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "registry.yaml"

    def write(prefix: str) -> None:
        for number in range(6):
            write_pin(file, tiny()[0].model_copy(update={"tag": f"{prefix}{number}"}), published("a"))

    running = [start(partial(write, prefix)) for prefix in ("left", "right")]
    assert [each.finish().error for each in running] == ["", ""]
    tags = {record.tag for record in read_file(file).weights}
    assert tags == {f"{prefix}{number}" for prefix in ("left", "right") for number in range(6)}
    assert list(files_below(tmp_path)) == ["registry.yaml"]


def test_a_full_disk_changes_nothing(catalog: Path) -> None:
    before = files_below(catalog.parent)
    outcome = in_process(lambda: write_pin(catalog, tiny()[0], published("b")), {resource.RLIMIT_FSIZE: 2000})
    assert outcome.error == "PublishError"
    assert f"{catalog} cannot be written: [Errno 27] File too large; add the pin by hand: " in outcome.message
    assert files_below(catalog.parent) == before


def test_a_full_disk_leaves_no_new_file(tmp_path: Path) -> None:
    file = tmp_path / "registry.yaml"
    outcome = in_process(lambda: write_pin(file, tiny()[0], published("a")), {resource.RLIMIT_FSIZE: 500})
    assert outcome.error == "PublishError"
    assert list(tmp_path.iterdir()) == []
