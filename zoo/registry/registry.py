"""All components of this process by kind and name: lazy, read once, broken ones stay visible and break nobody else."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, final

from zoo.errors import ComponentClashError, ComponentError, UnknownComponentError, shorten, suggest
from zoo.known_plugins import unknown_component
from zoo.registry.component import CATALOG_FILE, DISABLE, GROUPS, NAME_RULE, NOTEBOOK, Component, State, name_problem
from zoo.registry.scan import disabled_names, idle_switches, installed_points, normalise, package_file, scan

__all__ = [
    "CATALOG_FILE",
    "DISABLE",
    "GROUPS",
    "NOTEBOOK",
    "Component",
    "Registry",
    "State",
    "default_registry",
    "disabled_names",
    "idle_switches",
    "list_components",
    "package_file",
    "register",
    "scan",
]

C = TypeVar("C", bound=type)


def _enabled(claims: Iterable[Component]) -> list[Component]:
    return [claim for claim in claims if claim.state not in (State.DISABLED, State.REFUSED)]


def _clash(kind: str, name: str, claims: list[Component]) -> str:
    claims = sorted(claims, key=lambda claim: claim.distribution)  # the same message whatever the order of sys.path
    origins = " and ".join(claim.origin for claim in claims)
    choices = " or ".join(repr(f"{claim.distribution}:{name}") for claim in claims)
    return f"{kind} {name!r} is claimed by {origins}; write {choices}, or uninstall one"


@final
class Registry:
    """All components, by kind and name."""

    def __init__(self, components: Iterable[Component] = ()) -> None:
        self._components: dict[str, dict[str, list[Component]]] = {kind: {} for kind in GROUPS}
        for component in components:
            self._components[component.kind].setdefault(component.name, []).append(component)

    def components(self, kind: str | None = None) -> list[Component]:
        """Every component, broken ones too, by kind and name."""
        kinds = [self._kind(kind)] if kind else [self._kind(group) for group in GROUPS]
        return [component for names in kinds for _, claims in sorted(names.items()) for component in claims]

    def names(self, kind: str) -> list[str]:
        """Names of one kind, as they may stand in a model's name; `distribution:name` for all of them too."""
        installed = [c for c in self.components(kind) if c.distribution != NOTEBOOK and not name_problem(kind, c.name)]
        return self.plain_names(kind) + [f"{c.distribution}:{c.name}" for c in installed]

    def plain_names(self, kind: str) -> list[str]:
        """Names of one kind without their distributions."""
        return sorted(name for name in self._kind(kind) if not name_problem(kind, name))

    def _kind(self, kind: str) -> dict[str, list[Component]]:
        if kind not in self._components:
            raise UnknownComponentError(f"unknown component kind {shorten(str(kind))}{suggest(str(kind), GROUPS)}")
        return self._components[kind]

    def find(self, kind: str, name: str) -> Component:
        """The handle of a name, or of `distribution:name`.

        Raises:
            UnknownComponentError: nobody offers it.
            ComponentClashError: several distributions do.
        """
        distribution, colon, plain = name.rpartition(":")
        claims = [
            claim
            for claim in self._kind(kind).get(plain, [])
            if not colon or claim.distribution == normalise(distribution)
        ]
        if not claims:
            known = self.names(kind) if colon else self.plain_names(kind)
            raise unknown_component(kind, name, suggest(name, known))
        enabled = _enabled(claims)
        if len(enabled) > 1:
            raise ComponentClashError(_clash(kind, plain, enabled))
        return (enabled or claims)[0]

    def load(self, kind: str, name: str) -> Any:
        """The class behind a name; raises as `find` and `Component.load` do."""
        return self.find(kind, name).load()

    def status(self, component: Component) -> tuple[State, str | None]:
        """A component's state and the reason, also where others claim its name: one that is broken stays so."""
        claims = _enabled(self._components[component.kind][component.name])
        if component.error is None and len(claims) > 1 and component.kind != "catalog":
            return State.CONFLICT, _clash(component.kind, component.name, claims)
        if component.error is None and (lacking := component.lacking()):
            return State.INCOMPLETE, lacking
        return component.state, component.error

    def check(self) -> list[Component]:
        """Import every component, so that each one's state is known; all of them, the unusable ones too."""
        for component in self.components():
            if component.state is State.AVAILABLE:
                with suppress(ComponentError):  # kept in its state and error
                    component.load()
        return self.components()

    def register(self, kind: str, name: str, cls: type[Any]) -> None:
        """Add a class of this process.

        Running the same notebook cell again replaces its own class; nothing else is ever replaced.

        Raises:
            ComponentClashError: the name is taken.
            ComponentError: the class does not fulfil the contract of its kind.
        """
        self._kind(kind)
        if problem := name_problem(kind, name) if isinstance(name, str) else f"{name!r} {NAME_RULE}":
            raise ComponentError(problem)
        if not inspect.isclass(cls):
            raise ComponentError(f"{kind} {name!r} must be a class, not {type(cls).__name__}")
        target = f"{cls.__module__}:{cls.__qualname__}"
        claims = self._kind(kind).get(name, [])
        rivals = [c for c in claims if not (c.distribution == NOTEBOOK and c.target == target)]
        if rivals:
            raise ComponentClashError(f"{kind} {name!r} is taken by {rivals[0].origin}; choose another name")
        component = Component(kind, name, NOTEBOOK, None, target, _import=lambda: cls)
        component.load()
        self._kind(kind)[name] = [component]


@functools.cache
def default_registry() -> Registry:
    """The registry of the installed distributions, read once a process."""
    points, ours = installed_points(Path(__file__).parents[1])
    return Registry(scan(points, disabled_names(), ours))


def register(kind: str, name: str) -> Callable[[C], C]:
    """Class decorator that adds a component for this process, as in a notebook.

    Example:
        >>> import zoo
        >>> @zoo.register("encoder", "threshold")
        ... class ThresholdEncoder(zoo.contracts.Encoder):
        ...     api_version, code, differentiable, timesteps = 1, "threshold", False, 1
        ...
        ...     def forward(self, x):
        ...         return (x > 0.5).to(x.dtype)[None]
        >>> "threshold" in zoo.list_components("encoder")
        True

    Raises:
        ComponentClashError: the name is taken.
        ComponentError: the class does not fulfil the contract of its kind.
    """

    def add(cls: C) -> C:
        default_registry().register(kind, name, cls)
        return cls

    return add


def list_components(kind: str) -> list[str]:
    """Names of the registered components of one kind: family, backbone, encoder, decoder or neuron.

    Example:
        >>> import zoo
        >>> "bpd" in zoo.list_components("decoder")
        True

    Raises:
        UnknownComponentError: for another kind.
    """
    return default_registry().plain_names(kind)
