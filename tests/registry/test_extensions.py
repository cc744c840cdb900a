"""Commands and energy models that an installed distribution adds."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from zoo import contracts
from zoo.cli import app
from zoo.errors import ComponentError, InputError
from zoo.registry.components import Component, Registry

one, several = typer.Typer(), typer.Typer()


@one.command(epilog="Example: zoo count 3")
def count(number: int) -> None:
    """Count to a number."""
    print(list(range(number)))


@several.command()
def first() -> None:
    """Fail."""
    raise InputError("no such thing")


@several.command()
def second() -> None:
    """Do nothing."""


def _command(name: str, found: Any) -> Component:
    def importer() -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    return Component("command", name, "zoo-more", "1.0", f"more:{name}", importer)


@pytest.fixture(autouse=True)
def _installed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"count": one, "many": several, "broken": RuntimeError("boom"), "notapp": count, "list": one}
    commands = [*made.items(), ("empty", typer.Typer()), ("twice", one), ("twice", several)]
    extended = Registry([*registry.components(), *(_command(*each) for each in commands)])
    monkeypatch.setattr("zoo.cli.options.default_registry", lambda: extended)


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["count", "3"], 0, "[0, 1, 2]"),
        (["zoo-more:count", "3"], 0, "[0, 1, 2]"),
        (["count", "--help"], 0, "Example: zoo count 3"),
        (["many", "first"], 2, "error: no such thing"),
        (["broken"], 2, "RuntimeError: boom"),
        (["notapp"], 2, "is not a typer.Typer"),
        (["twice"], 2, "claimed by"),
        (["empty"], 2, "cannot be used"),
        (["list", "--help"], 0, "--encoder"),
        (["cuont"], 2, "did you mean 'count'?"),
        (["--help"], 0, "Count to a number."),
    ],
)
def test_a_command_of_a_plugin_is_one_of_the_zoo(arguments: list[str], status: int, told: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, told in done.output) == (status, True), done.output


def test_an_unknown_command_of_a_known_plugin_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.registry.installing.known_plugins", lambda: {"zoo-walk": ["command walk"]})
    result = CliRunner().invoke(app, ["walk", "--help"])
    assert result.exit_code == 2
    assert "pip install zoo-walk" in result.stderr


def test_an_energy_model_without_texts_is_broken() -> None:
    class Untold(contracts.EnergyModel):
        api_version = 1

        def estimate(self, operations: contracts.Operations) -> contracts.Picojoules:
            raise NotImplementedError

    with pytest.raises(ComponentError, match="charges"):
        Component("energy_model", "untold", "zoo-x", "1", "x:Untold", importer=lambda: Untold).load()
