"""Packages whose public names are imported on first use, so that importing one loads neither torch nor a plugin."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def attach(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    Example:
        >>> get, names = attach("zoo", {"Spec": "zoo.names"})
        >>> get("Spec").__name__
        'Spec'

    Args:
        package: its name.
        homes: public name → the module that holds it, or that is it.
    """

    def get(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(home)
        return module if home == f"{package}.{name}" else getattr(module, name)

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return get, names
