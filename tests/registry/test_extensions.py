"""Commands and models of energy that an installed distribution adds, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zoo.cli import app
from zoo.errors import ComponentError, KnownPlugin
from zoo.registry import OWN_COMMANDS, Component

MODULES = {
    "one.py": """
import typer
app = typer.Typer()

@app.command(epilog="Example: zoo count 3")
def count(number: int) -> None:
    \"\"\"Count to a number.\"\"\"
    print(list(range(number)))
""",
    "several.py": """
import typer
from zoo.errors import InputError
app = typer.Typer()

@app.command()
def first() -> None:
    \"\"\"Fail.\"\"\"
    raise InputError("no such thing")

@app.command()
def second() -> None:
    pass
""",
    "broken.py": "raise RuntimeError('boom')",
    "energy.py": """
from zoo.contracts import EnergyModel, Prices

class Chip(EnergyModel):
    api_version = 1
    source = prices = charges = leaves_out = "text"

    def estimate(self, operations):
        return Prices(1.0, 0.1, 0.1).estimate(operations)

class Silent(Chip):
    estimate = None
""",
}
POINTS = """
[zoo.commands]
count = one:app
many = several:app
broken = broken:app
notapp = one:count
list = one:app

[zoo.energy_models]
my-chip = energy:Chip
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    info = folder / "zoo_more-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo-more\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(POINTS, encoding="utf-8")
    for name, text in MODULES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def _zoo(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(site), "COLUMNS": "120", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "zoo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["count", "3"], 0, "[0, 1, 2]"),
        (["zoo-more:count", "3"], 0, "[0, 1, 2]"),
        (["count", "--help"], 0, "Example: zoo count 3"),
        (["many", "first"], 2, "error: no such thing"),
        (["broken"], 2, "RuntimeError: boom"),
        (["notapp"], 2, "one:count is not a typer.Typer"),
        (["list", "--help"], 0, "--encoder"),
        (["cuont"], 2, "No such command 'cuont'. Did you mean"),
    ],
)
def test_a_command_of_a_plugin_is_one_of_the_zoo(site: Path, arguments: list[str], status: int, told: str) -> None:
    done = _zoo(site, *arguments)
    assert (done.returncode, told in done.stdout + done.stderr) == (status, True), done


def test_help_lists_commands_of_plugins_and_plugins_their_state(site: Path) -> None:
    listing = _zoo(site, "--help")
    assert listing.returncode == 0
    assert {"count", "many", "broken", "notapp"} <= {
        line[2:].split()[0] for line in listing.stdout.splitlines() if line[2:].strip()
    }
    states = _zoo(site, "plugins").stdout
    for name, state in (("count", "loaded"), ("broken", "broken"), ("list", "broken"), ("my-chip", "loaded")):
        assert any(line.split()[1:2] == [name] and state in line for line in states.splitlines()), states


def test_names_of_the_zoos_own_commands_are_reserved() -> None:
    own = {command.name or command.callback.__name__ for command in app.registered_commands}
    own |= {group.name for group in app.registered_groups}
    assert own - {"site"} == {*OWN_COMMANDS}  # which zoo-site will bring


def test_an_unknown_command_of_a_known_plugin_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"zoo-walk": KnownPlugin({"command": ("walk",)})}
    monkeypatch.setattr("zoo.errors.KNOWN_PLUGINS", known)
    result = CliRunner().invoke(app, ["walk", "--help"])
    assert result.exit_code == 2
    assert "zoo-walk" in result.stderr
    assert "pip install" in result.stderr


def test_an_energy_model_without_texts_is_broken() -> None:
    from zoo.contracts import EnergyModel, Operations, Picojoules

    class Untold(EnergyModel):
        api_version = 1

        def estimate(self, operations: Operations) -> Picojoules:
            raise NotImplementedError

    with pytest.raises(ComponentError, match="charges"):
        Component("energy_model", "untold", "zoo-x", "1", "x:Untold", importer=lambda: Untold).load()
