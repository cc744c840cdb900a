"""A class of the zoo is abstract or final: what can be built is not subclassed, and what is subclassed says so."""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
import typing
from abc import ABC

import pytest

import zoo
from zoo.testing import ComponentTests

OPEN = {
    "Record": "a schema; each is one of its own",
    "StoredWeight": "a catalog's record adds where the bytes lie",
    "GuardedConv2d": "Conv2d is one that rounds alike in any batch; the CPU's guard knows both by this class",
    "Cost": "a Profile has the same figures, and more",
}
"""Concrete classes that are subclassed, and why."""


def _modules() -> list[str]:
    names = (module.name for module in pkgutil.walk_packages(zoo.__path__, "zoo."))
    return ["zoo", *(name for name in names if "template" not in name and "kernels._kernels" not in name)]


def _classes() -> dict[str, type]:
    """The zoo's own classes, by `module.name`."""
    classes = {}
    for name in _modules():
        for value in vars(importlib.import_module(name)).values():
            if inspect.isclass(value) and value.__module__ == name:
                classes[f"{name}.{value.__qualname__}"] = value
    return classes


@pytest.fixture(scope="module")
def classes() -> dict[str, type]:
    return _classes()


def _is_abstract(cls: type) -> bool:
    return inspect.isabstract(cls) or ABC in cls.__bases__


def _is_open_by_kind(cls: type) -> bool:
    """Exceptions form a tree that callers catch by; suites are made to be subclassed; the others cannot be final."""
    kinds = (BaseException, enum.Enum, ComponentTests)
    return issubclass(cls, kinds) or typing.is_typeddict(cls) or bool(getattr(cls, "_is_protocol", False))


def _is_final(cls: type) -> bool:
    return bool(vars(cls).get("__final__", False))


def test_what_is_subclassed_is_abstract(classes: dict[str, type]) -> None:
    concrete = {
        base.__qualname__
        for cls in classes.values()
        for base in cls.__bases__
        if base in classes.values() and not _is_abstract(base) and not _is_open_by_kind(base)
    }
    assert concrete == OPEN.keys()


def test_what_is_concrete_is_final(classes: dict[str, type]) -> None:
    unmarked = [
        name
        for name, cls in classes.items()
        if not (_is_final(cls) or _is_abstract(cls) or _is_open_by_kind(cls) or cls.__qualname__ in OPEN)
    ]
    assert not unmarked
