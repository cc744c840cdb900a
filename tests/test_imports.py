"""No file of the zoo imports itself, not even later and by way of others."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "zoo").rglob("*.py")
}


def imported(node: ast.AST) -> Iterator[str]:
    """Modules that run when this code runs, those inside of functions too; not those for type checkers."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
        return
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names)
    if isinstance(node, ast.ImportFrom):
        inside = (f"{node.module}.{name.name}" for name in node.names)
        yield from (name if name in FILES else str(node.module) for name in inside)
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def test_no_circle_of_files_exists() -> None:
    imports = {name: set(imported(ast.parse(path.read_bytes()))) & FILES.keys() for name, path in FILES.items()}
    assert "zoo.models.factory" in imports["zoo.profiling.rivals"]
    left = dict(imports)
    while leaves := {name for name, others in left.items() if not others & (left.keys() - {name})}:
        left = {name: others for name, others in left.items() if name not in leaves}
    assert not left, f"these files import each other: {sorted(left)}"
