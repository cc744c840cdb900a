"""The first docstring line of components, read from their source: nothing of theirs is imported."""

from __future__ import annotations

import ast
import importlib.util
import warnings
from collections.abc import Iterable
from pathlib import Path

_MAX_BYTES = 1_000_000
_MAX_HOPS = 4
"""Modules that a class is followed through, where one only imports it from another."""

_UNREADABLE = (ImportError, OSError, SyntaxError, ValueError, RecursionError, MemoryError)
"""What finding and parsing the source of a stranger may end in."""


def first_lines(targets: Iterable[str]) -> dict[str, str | None]:
    """The first docstring line of every `module:class`, or of a `module`; None where the source does not show one."""
    parsed: dict[str, ast.Module | None] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes in what is parsed: its author's matter
        return {target: _readable_line(target, parsed) for target in dict.fromkeys(targets)}


def _readable_line(target: str, parsed: dict[str, ast.Module | None]) -> str | None:
    try:
        return _first_line(target, parsed)
    except _UNREADABLE:
        return None


def _first_line(target: str, parsed: dict[str, ast.Module | None]) -> str | None:
    module, _, name = target.partition(":")
    for _ in range(_MAX_HOPS):
        if module not in parsed:
            parsed[module] = _parse(module)
        tree = parsed[module]
        if tree is None:
            return None
        if not name:
            return _line_of(tree)
        kind = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
        if kind is not None:
            return _line_of(kind)
        imported = _imported_from(tree, name, module)
        if imported is None:
            return None
        module, name = imported
    return None


def _line_of(node: ast.ClassDef | ast.Module) -> str | None:
    lines = (ast.get_docstring(node) or "").strip().splitlines()
    return lines[0].strip() if lines else None


def _imported_from(tree: ast.Module, name: str, module: str) -> tuple[str, str] | None:
    """Module and name that `from … import name` of this module takes it from."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _absolute(node, module), alias.name
    return None


def _absolute(node: ast.ImportFrom, module: str) -> str:
    """The module of an import, relative ones resolved; only a package's own file is found under its very name."""
    if not node.level:
        return node.module or ""
    file = _file(module)
    package = module if file is not None and file.name == "__init__.py" else module.rpartition(".")[0]
    return importlib.util.resolve_name("." * node.level + (node.module or ""), package)


def _parse(module: str) -> ast.Module | None:
    file = _file(module)
    if file is None or file.stat().st_size > _MAX_BYTES:
        return None
    return ast.parse(file.read_bytes())


def _file(module: str) -> Path | None:
    """The source of a module, found as the import system finds its outermost package, and then by its path."""
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top)  # of an outermost package nothing is run
    if spec is None:
        return None
    if not inner and spec.origin is not None:
        return Path(spec.origin) if spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        place = Path(folder, *inner)
        for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
            if file.is_file():
                return file
    return None
