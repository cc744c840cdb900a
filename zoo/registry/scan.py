"""Entry points → component handles. Metadata alone is read; no component's module is imported."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from zoo.registry.component import CATALOG_FILE, DISABLE, GROUPS, OURS, Component, State, name_problem


def normalise(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def package_file(package: str, path: str) -> Path:
    """A file of a package, which is found but not imported; nor are the packages around it.

    Raises:
        ModuleNotFoundError: no such package, or one without that file.
    """
    top, *inner = package.split(".")
    spec = importlib.util.find_spec(top)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        if (file := Path(folder, *inner, path)).is_file():
            return file
    raise ModuleNotFoundError(f"package {package!r} holds no {path}", name=package)


def disabled_names(environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """What `ZOO_DISABLE_PLUGINS` switches off."""
    return frozenset(name.strip() for name in environment.get(DISABLE, "").split(",") if name.strip())


def _switches_off(entry: str, distribution: str, name: str) -> bool:
    """Whether an entry of `ZOO_DISABLE_PLUGINS` means this component."""
    owner, colon, plain = entry.rpartition(":")
    if colon:
        return (normalise(owner), plain) == (distribution, name)
    return entry == name or normalise(entry) == distribution


def idle_switches(components: Iterable[Component], disabled: Iterable[str]) -> list[str]:
    """Entries of `ZOO_DISABLE_PLUGINS` that mean no component: misspelt, or no longer installed."""
    owners = [(component.distribution, component.name) for component in components]
    return sorted(entry for entry in disabled if not any(_switches_off(entry, *owner) for owner in owners))


def _describe(distribution: importlib.metadata.Distribution | None) -> tuple[str, str | None]:
    """Normalised name and version, as far as the metadata can be read: "(unknown)" and None where not."""
    try:
        metadata = distribution.metadata if distribution else None  # parsed anew at every access
    except Exception:  # a damaged installation raises whatever the parser of its Python version happens to raise
        metadata = None
    names, versions = (metadata.get_all(key) if metadata else None for key in ("Name", "Version"))
    return (normalise(names[0]) if names else "(unknown)"), versions[0] if versions else None


Record = tuple[str, str, str]
"""Group, name and value of an entry point."""


def installed_points(package: Path) -> tuple[list[importlib.metadata.EntryPoint], frozenset[Record]]:
    """The entry points of everything installed, the zoo's own first, and which ones those are.

    Python shows of several distributions with one name the first on sys.path alone. Here it is always the one that
    `package` belongs to that is read as the zoo's own, and those of its namesakes come too.
    """
    namesakes = list(importlib.metadata.distributions(name=OURS))
    own = next((dist for dist in namesakes if _holds(dist, package)), None)
    if own is None:  # a source tree on sys.path in front of an installed zoo
        own = next((dist for dist in namesakes if _names_the_zoo_alone(dist)), None)
    ours = [point for point in own.entry_points if point.group in GROUPS.values()] if own else []
    others = [point for dist in namesakes if dist is not own for point in dist.entry_points]
    groups = importlib.metadata.entry_points()
    points = [point for group in GROUPS.values() for point in groups.select(group=group)]
    return [*ours, *points, *others], frozenset((point.group, point.name, point.value) for point in ours)


def _holds(distribution: importlib.metadata.Distribution, package: Path) -> bool:
    """Whether a distribution is the one that installed this package, as files or as an editable source tree."""
    if Path(str(distribution.locate_file(package.name))).resolve() == package.resolve():
        return True
    try:
        place = urlsplit(json.loads(distribution.read_text("direct_url.json") or "{}").get("url", ""))
    except (OSError, ValueError, AttributeError):  # a damaged installation
        return False
    return place.scheme == "file" and Path(url2pathname(place.path)).resolve() == package.parent.resolve()


def _names_the_zoo_alone(distribution: importlib.metadata.Distribution) -> bool:
    points = [point for point in distribution.entry_points if point.group in GROUPS.values()]
    return bool(points) and all(point.value.startswith("zoo.") for point in points)


def _namesake(distribution: importlib.metadata.Distribution | None) -> str:
    folder = distribution.locate_file("") if distribution else "an unknown folder"
    return (
        f"a distribution in {folder} calls itself {OURS} but is not the zoo that runs; nothing of it is used: "
        "uninstall it, or give it another name"
    )


def scan(
    entry_points: Iterable[importlib.metadata.EntryPoint],
    disabled: frozenset[str] = frozenset(),
    ours: frozenset[Record] | None = None,
) -> Iterator[Component]:
    """Components of entry points; the same record of one distribution, seen twice, counts once.

    Args:
        entry_points: those of `GROUPS`; others are passed over.
        disabled: distributions, names, or `distribution:name` that stay visible but cannot be used.
        ours: what the zoo's own distribution offers; whatever else is offered in its name is refused. None asks nobody.
    """
    kinds = {group: kind for kind, group in GROUPS.items()}
    described: dict[importlib.metadata.Distribution | None, tuple[str, str | None]] = {}  # each is parsed once
    seen = set()
    for point in entry_points:
        if point.group not in kinds:
            continue
        if point.dist not in described:
            described[point.dist] = _describe(point.dist)
        distribution, version = described[point.dist]
        key = (point.group, point.name, distribution, point.value)
        if key in seen:
            continue
        seen.add(key)
        component = Component(
            kind=kinds[point.group],
            name=point.name,
            distribution=distribution,
            version=version,
            target=point.value,
            _import=point.load
            if point.group != GROUPS["catalog"]
            else functools.partial(package_file, point.value, CATALOG_FILE),
        )
        if any(_switches_off(entry, distribution, point.name) for entry in disabled):
            component.fail(f"switched off by the environment variable {DISABLE}", State.DISABLED)
        elif distribution == OURS and ours is not None and (point.group, point.name, point.value) not in ours:
            component.fail(_namesake(point.dist), State.REFUSED)
        elif problem := name_problem(component.kind, point.name):
            component.fail(problem)
        yield component
