"""`zoo list` as a reader sees it, in a terminal of 80 columns."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.cli.commands import in_terminal
from zoo.registry.component import OURS
from zoo.registry.registry import default_registry

SNAPSHOT = Path(__file__).parent / "snapshots" / "list.txt"


def shown_list() -> str:
    """Lines without the blanks that fill them up to the terminal's width."""
    shown, _ = in_terminal([sys.executable, "-m", "zoo", "list"], columns=80)
    return "".join(f"{line.rstrip()}\n" for line in shown.splitlines())


def test_the_list_of_a_plain_install_is_the_one_that_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = {component.distribution for component in default_registry().components()} - {OURS}
    monkeypatch.setenv("ZOO_DISABLE_PLUGINS", ",".join(plugins))
    shown = shown_list()
    if not SNAPSHOT.exists():
        SNAPSHOT.write_text(shown, encoding="utf-8")
        pytest.fail(f"{SNAPSHOT} was not there and has been written; read it, and keep it")
    assert shown == SNAPSHOT.read_text(encoding="utf-8"), f"delete {SNAPSHOT} and run this again, if that is better"
    assert max(map(len, shown.splitlines())) <= 80
