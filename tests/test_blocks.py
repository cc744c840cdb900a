"""Plugins import contracts, blocks, the kit, errors and names of the zoo, and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PUBLIC = {"zoo", "zoo.blocks", "zoo.contracts", "zoo.errors", "zoo.names", "zoo.testing"}
PARTS = {"zoo-energy", "zoo-nir", "zoo-site"}
"""They extend commands, profiling and exporting, for which there are no blocks; they are released with the zoo."""
SOURCES = sorted(file for file in ROOT.glob("plugins/*/zoo_*/**/*.py") if file.relative_to(ROOT).parts[1] not in PARTS)
TEMPLATES = sorted((ROOT / "zoo" / "scaffold" / "templates").rglob("*.jinja"))


def imported(source: str) -> set[str]:
    """Modules of the zoo that a file imports."""
    nodes = list(ast.walk(ast.parse(source)))
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    parts = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name for name in whole | parts if name.partition(".")[0] == "zoo"}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT / "plugins")))
def test_plugins_import_what_is_public(file: Path) -> None:
    assert imported(file.read_text(encoding="utf-8")) <= PUBLIC


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_new_plugins_import_what_is_public(file: Path) -> None:
    modules = re.findall(r"^\s*(?:from|import) (zoo[\w.]*)", file.read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for name in modules if not name.startswith("zoo_")} <= PUBLIC
