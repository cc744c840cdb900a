"""Copies of zoo-gray with one defect each, and its own test suites run on them."""

from __future__ import annotations

import importlib.util
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from zoo.registry import Component, Registry, default_registry
from zoo.testing import CheckResult, ComponentTests, Outcome, run_check
from zoo.testing.component import checks_of

PLUGIN = Path(__file__).parents[2] / "plugins" / "zoo-gray"
IMPORT = "importing_it_does_nothing_else"
"""Runs a process of its own; asked for where it is meant."""


def plant(folder: Path, name: str, old: str, new: str) -> str:
    """A copy of the package under another name in `folder`, `old` replaced once by `new`; its name."""
    source = (PLUGIN / "zoo_gray" / "__init__.py").read_text(encoding="utf-8")
    assert source.count(old) >= 1, f"the defect {name} no longer fits zoo_gray: {old!r} is gone"
    package = f"gray_{name}"
    (folder / package).mkdir()
    (folder / package / "__init__.py").write_text(source.replace(old, new, 1), encoding="utf-8")
    return package


def _imported(package: str, attribute: str) -> Any:
    return getattr(importlib.import_module(package), attribute)


def registry_of(package: str) -> Registry:
    """The installed components and, as `gray`, those of the package, which is not imported yet."""
    ours = [
        Component(
            kind,
            "gray",
            "zoo-gray",
            "0.1.0",
            f"{package}:{attribute}",
            importer=partial(_imported, package, attribute),
        )
        for kind, attribute in (("encoder", "GrayEncoder"), ("decoder", "GrayDecoder"))
    ]
    others = [c for c in default_registry().components() if c.distribution == "has8-zoo"]
    return Registry([*others, *ours])


def suites_of(package: str) -> list[ComponentTests]:
    """The plugin's own test classes, on the components of that package."""
    module = _tests_of(package)
    registry = registry_of(package)
    suites: list[ComponentTests] = [module.TestGrayEncoder(), module.TestGrayDecoder()]
    for suite in suites:
        suite.registry = registry
    return suites


def _tests_of(package: str) -> ModuleType:
    """plugins/zoo-gray/tests/test_gray.py, reading its references from the plugin without a defect."""
    if "zoo_gray" not in sys.modules:
        _load("zoo_gray", PLUGIN / "zoo_gray" / "__init__.py")
    return _load(f"tests_of_{package}", PLUGIN / "tests" / "test_gray.py")


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results(package: str, *, imports: bool = False) -> list[CheckResult]:
    """All checks of both suites; that of imports where it is asked for."""
    return [
        run_check(suite, check)
        for suite in suites_of(package)
        for check in checks_of(type(suite))
        if imports or check != IMPORT
    ]


def failures(found: list[CheckResult]) -> dict[str, str]:
    """Messages of what failed, by `kind check`."""
    return {f"{r.kind} {r.check}": r.message for r in found if r.outcome is Outcome.FAILED}
