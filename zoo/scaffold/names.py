"""The names of a new plugin: its distribution, its package, its component. Nothing here touches the disk."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import keyword
import re
import sys

from zoo.errors import ComponentClashError, ComponentError, InputError, shorten
from zoo.registry import NAME, Registry

MAX_DISTRIBUTION = 64
MAX_COMPONENT = 24
"""A model's name has up to seven parts and 200 characters."""

OURS = ("has8", "zoo")
"""Leading words of a distribution that its component does not repeat: `zoo-sparkle` offers `sparkle`."""

RESERVED = frozenset({"build", "dist", "test_conformance", "tests"})
"""Packages that would lie where the new plugin keeps something else."""

_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_DISTRIBUTION_RULE = f"letters, digits and hyphens, a letter first and no hyphen last, up to {MAX_DISTRIBUTION}"
_COMPONENT_RULE = f"lower-case letters and digits, a letter first, no underscore, up to {MAX_COMPONENT}"


def distribution_name(text: str) -> str:
    """The normalised name (PEP 503) of a distribution to be, where it is one (PEP 508) and free here.

    Raises:
        InputError: it is not such a name, or what it would install is there already.
    """
    name = re.sub(r"[-_.]+", "-", text).lower() if isinstance(text, str) else ""
    if not (name and _DISTRIBUTION.fullmatch(text) and name[0].isalpha() and len(name) <= MAX_DISTRIBUTION):
        words = "-".join(re.findall(r"[a-z0-9]+", str(text).lower()))[:MAX_DISTRIBUTION].strip("-")
        near = words if words[:1].isalpha() else f"zoo-{words}".strip("-")
        raise InputError(
            f"{shorten(str(text))} is not the name of a plugin; valid: {_DISTRIBUTION_RULE}, such as {near!r}"
        )
    package = package_name(name)
    if _is_pythons(package):
        raise InputError(f"package {package!r} would hide Python's own; choose another name, such as 'zoo-{name}'")
    if package in RESERVED:
        raise InputError(f"{package!r} is not a name for a package; choose another name, such as 'zoo-{name}'")
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        raise InputError(f"{name} {version} is installed already; uninstall it, or choose another name")
    if importlib.util.find_spec(package) is not None:
        raise InputError(f"a package {package!r} is installed already; choose another name, such as '{name}-zoo'")
    return name


def package_name(distribution: str) -> str:
    """The import package of a normalised distribution: `zoo_sparkle` of `zoo-sparkle`."""
    return distribution.replace("-", "_")


def component_name(wanted: str | None, distribution: str, registry: Registry) -> str:
    """The component's name, or the one that goes with a distribution; free among all kinds.

    Raises:
        ComponentError: it is not such a name.
        ComponentClashError: (ComponentError) a component of that name is installed.
    """
    name = _derived(distribution) if wanted is None else wanted
    advice = "name the component with --component" if wanted is None else "choose another"
    if not (isinstance(name, str) and NAME.fullmatch(name) and len(name) <= MAX_COMPONENT):
        near = re.sub(r"[^a-z0-9]|^[^a-z]+", "", str(name).lower())[:MAX_COMPONENT] or "sparkle"
        raise ComponentError(
            f"{shorten(str(name))} is not a component name; {advice}; valid: {_COMPONENT_RULE}, such as {near!r}"
        )
    if _is_pythons(name):
        raise ComponentError(f"{name!r} is a word of Python's own; {advice}, such as 'my{name}'")
    rivals = [component for component in registry.components() if component.name == name]
    if rivals:
        first = rivals[0]
        raise ComponentClashError(
            f"{name!r} is the {first.kind} of {first.origin} already; {advice}, such as 'my{name}'"
        )
    return name


def _derived(distribution: str) -> str:
    words = distribution.split("-")
    while len(words) > 1 and words[0] in OURS:
        words = words[1:]
    return "".join(words)


def _is_pythons(name: str) -> bool:
    return keyword.iskeyword(name) or name in sys.stdlib_module_names
