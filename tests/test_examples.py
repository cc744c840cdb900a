"""The examples in docstrings of the zoo's public functions do what they show, offline and in an empty folder."""

from __future__ import annotations

import doctest
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zoo
from zoo.registry.components import default_registry

FUNCTIONS = {name: getattr(zoo, name) for name in zoo.__all__ if inspect.isfunction(getattr(zoo, name))}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Examples write into it; what they register is forgotten."""
    monkeypatch.chdir(tmp_path)
    yield
    default_registry.cache_clear()


def test_every_public_function_has_an_example() -> None:
    assert not {name for name, function in FUNCTIONS.items() if ">>>" not in inspect.getdoc(function)}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_the_example_does_what_it_shows(function: Callable[..., Any]) -> None:
    output: list[str] = []
    runner = doctest.DocTestRunner()
    for example in doctest.DocTestFinder(recurse=False).find(function, function.__name__, globs={}):
        runner.run(example, out=output.append)
    assert not runner.failures, "".join(output)
