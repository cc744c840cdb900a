"""Names that no catalog lists: of families that build others, and of components of plugins. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import final

from zoo.catalog.catalog import Catalog, default_catalog
from zoo.errors import ComponentError
from zoo.registry import OURS, UNUSABLE, Component, Registry, default_registry

_PATTERNS = {"family": "{}_*", "backbone": "*_{}_*", "encoder": "*_{}_*", "decoder": "*_{}", "neuron": "*_{}"}
"""Where the name of a component stands in the name of a model."""


@final
@dataclass(frozen=True)
class FurtherNames:
    """Names of one pattern that no catalog lists.

    Attributes:
        pattern: a shell pattern of them, such as `sj_*`.
        kind: of the component that they are named by.
        component: its name.
        distribution: that offers it.
        about: the first line of its docstring; None where its source does not show one.
    """

    pattern: str
    kind: str
    component: str
    distribution: str
    about: str | None


def further_names(registry: Registry | None = None, catalog: Catalog | None = None) -> list[FurtherNames]:
    """What builds names that no catalog lists: families without a listed name, and components of plugins.

    Nothing is imported to know it.
    """
    registry, catalog = registry or default_registry(), catalog or default_catalog()
    listed = {name.partition("_")[0] for name in catalog.names}
    chosen = [component for component in registry.components() if _is_further(component, listed)]
    return [FurtherNames(_PATTERNS[c.kind].format(c.name), c.kind, c.name, c.distribution, c.summary) for c in chosen]


def _is_further(component: Component, listed: set[str]) -> bool:
    if component.kind not in _PATTERNS or component.state in UNUSABLE:
        return False
    if component.kind == "family":
        return component.name not in listed
    return component.distribution != OURS


def names_of_families(pattern: str, registry: Registry | None = None, catalog: Catalog | None = None) -> list[str]:
    """Names that match a pattern, of families that no catalog lists and that can say all of theirs.

    Only a family whose own name the pattern begins with is imported; one that cannot be used has none.
    """
    registry = registry or default_registry()
    families = [item.component for item in further_names(registry, catalog) if item.kind == "family"]
    asked = [family for family in families if pattern.startswith(f"{family}_")]
    names = [name for family in asked for name in _names_of(family, registry)]
    return [name for name in names if fnmatchcase(name, pattern)]


def _names_of(family: str, registry: Registry) -> Sequence[str]:
    try:
        return [f"{family}_{remainder}" for remainder in registry.load("family", family)().names()]
    except ComponentError:  # `zoo plugins` says what is wrong with it
        return ()
