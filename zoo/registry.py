"""Entry points → component handles: lazy, read once, broken ones stay visible and break nobody else.

Reading the entry points reads metadata alone; a component's module is imported when a model first needs it.

Whatever a plugin raises at import, SystemExit too, is kept as the reason why it cannot be used. KeyboardInterrupt alone
passes: nobody can tell a plugin's own from the user's Ctrl-C. What it prints goes to stderr, so that JSON stays JSON.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import inspect
import os
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from zoo.errors import (
    BrokenComponentError,
    ComponentClashError,
    ComponentError,
    IncompatibleComponentError,
    UnknownComponentError,
    shorten,
    suggest,
)
from zoo.redirecting import PRINTS_TO_STDERR

GROUPS = {
    "family": "zoo.families",
    "backbone": "zoo.backbones",
    "encoder": "zoo.encoders",
    "decoder": "zoo.decoders",
    "neuron": "zoo.neurons",
    "converter": "zoo.converters",
    "catalog": "zoo.catalogs",
}
"""Component kinds and their entry-point groups."""

CATALOG_FILE = "registry.yaml"
"""The file that a package named in the group `zoo.catalogs` holds."""

DISABLE = "ZOO_DISABLE_PLUGINS"
"""Environment variable: what is switched off, as distributions, names or `distribution:name` between commas."""

NOTEBOOK = "(registered here)"
"""The distribution shown for components that `zoo.register` added in this process."""

_NAME = re.compile(r"[a-z][a-z0-9]*")
_NAME_RULE = "is no component name: lower-case letters and digits, a letter first, no underscore"
C = TypeVar("C", bound=type)


class State(StrEnum):
    """What is known of a component."""

    AVAILABLE = "available"
    LOADED = "loaded"
    BROKEN = "broken"
    INCOMPATIBLE = "incompatible"
    CONFLICT = "conflict"
    DISABLED = "disabled"


def _contract(kind: str) -> type[Any]:
    from zoo import contracts

    # By name: only the family's contract comes without torch.
    found: type[Any] = getattr(contracts, kind.capitalize())
    return found


@dataclass
class Component:
    """One registered component; its class is imported by `load`.

    Attributes:
        kind: one of `GROUPS`.
        name: as it stands in a model's name.
        distribution: the normalised name of the distribution that offers it.
        version: of that distribution; None where unknown.
        target: `module:attribute`.
        state: what is known so far.
        error: the reason of a broken, incompatible or clashing one, with traceback.
    """

    kind: str
    name: str
    distribution: str
    version: str | None
    target: str
    state: State = State.AVAILABLE
    error: str | None = None
    _import: Callable[[], Any] = field(default=lambda: None, repr=False, compare=False)
    _loaded: Any = field(default=None, repr=False, compare=False)

    @property
    def origin(self) -> str:
        """`distribution version (target)`, for messages."""
        return f"{self.distribution} {self.version or ''}".strip() + f" ({self.target})"

    def load(self) -> Any:
        """The component's class, imported and checked once; of a catalog the path of its file.

        Raises:
            BrokenComponentError: the import failed, it is no such component, or it is switched off.
            IncompatibleComponentError: it was written for another API version.
            KeyboardInterrupt: it was interrupted, by the user or by itself; a note says what was being imported.
        """
        if self._loaded is not None:
            return self._loaded
        if self.state in (State.BROKEN, State.INCOMPATIBLE, State.DISABLED):
            raise self._failure()
        try:
            with PRINTS_TO_STDERR:
                found = self._import()
            problem = None if self.kind == "catalog" else self._problem(found)  # a file is validated where it is read
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(f"while importing {self.kind} {self.name!r} of {self.origin}; {DISABLE} switches it off")
            raise
        except BaseException:  # whatever else a plugin does at import is its own defect, shown on use
            problem = traceback.format_exc(), State.BROKEN
        if self._loaded is not None:  # another thread was first, or the plugin's own module, which needed it at import
            return self._loaded
        if problem is not None:
            self.fail(*problem)
            raise self._failure()
        self._loaded, self.state = found, State.LOADED
        return found

    def fail(self, reason: str, state: State = State.BROKEN) -> None:
        """Keep why it cannot be used."""
        self.error, self.state, self._loaded = reason, state, None

    def _failure(self) -> ComponentError:
        kind = IncompatibleComponentError if self.state is State.INCOMPATIBLE else BrokenComponentError
        return kind(f"{self.kind} {self.name!r} of {self.origin} cannot be used: {self.error}")

    def _problem(self, found: Any) -> tuple[str, State] | None:
        """Why what was imported is no such component, if so, and what that makes of it."""
        from zoo.contracts import API_VERSION

        contract = _contract(self.kind)
        if not (inspect.isclass(found) and issubclass(found, contract)):
            return f"{self.target} is no subclass of zoo.contracts.{contract.__name__}", State.BROKEN
        wanted = getattr(found, "api_version", None)
        if wanted != API_VERSION:
            said = "declares no api_version" if wanted is None else f"asks for API version {wanted!r}"
            advice = f"set `api_version = {API_VERSION}` in the class, or install matching versions"
            return f"{self.target} {said}, this zoo offers {API_VERSION}; {advice}", State.INCOMPATIBLE
        if inspect.isabstract(found):
            missing = ", ".join(sorted(found.__abstractmethods__))  # type: ignore[attr-defined]
            return f"{self.target} leaves abstract: {missing}", State.BROKEN
        declared = {name for each in found.__mro__ for name in vars(each)}
        lacking = sorted(name for name in inspect.get_annotations(contract) if name not in declared)
        if lacking and self.kind in ("encoder", "decoder"):
            return f"{self.target} lacks the class attributes {', '.join(lacking)}", State.BROKEN
        return None


def _normalise(distribution: str) -> str:
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
        return (_normalise(owner), plain) == (distribution, name)
    return entry == name or _normalise(entry) == distribution


def idle_switches(components: Iterable[Component], disabled: Iterable[str]) -> list[str]:
    """Entries of `ZOO_DISABLE_PLUGINS` that mean no component: misspelt, or no longer installed."""
    known = [(component.distribution, component.name) for component in components]
    return sorted(entry for entry in disabled if not any(_switches_off(entry, *each) for each in known))


def _describe(distribution: importlib.metadata.Distribution | None) -> tuple[str, str | None]:
    """Normalised name and version, as far as the metadata can be read: "(unknown)" and None where not."""
    try:
        metadata = distribution.metadata if distribution else None  # parsed anew at every access
    except Exception:  # a damaged installation raises whatever the parser of its Python version happens to raise
        metadata = None
    names, versions = (metadata.get_all(key) if metadata else None for key in ("Name", "Version"))
    return (_normalise(names[0]) if names else "(unknown)"), versions[0] if versions else None


def scan(
    entry_points: Iterable[importlib.metadata.EntryPoint], disabled: frozenset[str] = frozenset()
) -> Iterator[Component]:
    """Components of entry points; the same record of one distribution, seen twice, counts once.

    Args:
        entry_points: those of `GROUPS`; others are passed over.
        disabled: distributions, names, or `distribution:name` that stay visible but cannot be used.
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
        elif not _NAME.fullmatch(point.name) and component.kind != "catalog":
            component.fail(f"{point.name!r} {_NAME_RULE}")
        yield component


def _enabled(claims: Iterable[Component]) -> list[Component]:
    return [claim for claim in claims if claim.state is not State.DISABLED]


def _clash(kind: str, name: str, claims: list[Component]) -> str:
    claims = sorted(claims, key=lambda claim: claim.distribution)  # the same message whatever the order of sys.path
    origins = " and ".join(claim.origin for claim in claims)
    choices = " or ".join(repr(f"{claim.distribution}:{name}") for claim in claims)
    return f"{kind} {name!r} is claimed by {origins}; write {choices}, or uninstall one"


class Registry:
    """All components, by kind and name."""

    def __init__(self, components: Iterable[Component] = ()) -> None:
        self._components: dict[str, dict[str, list[Component]]] = {kind: {} for kind in GROUPS}
        for component in components:
            self._components[component.kind].setdefault(component.name, []).append(component)

    def components(self, kind: str | None = None) -> list[Component]:
        """Every component, broken ones too, by kind and name."""
        kinds = [kind] if kind else list(GROUPS)
        return [component for each in kinds for _, claims in sorted(self._kind(each).items()) for component in claims]

    def names(self, kind: str) -> list[str]:
        """Names of one kind, as they may stand in a model's name; `distribution:name` for all of them too."""
        installed = [c for c in self.components(kind) if c.distribution != NOTEBOOK and _NAME.fullmatch(c.name)]
        return self.plain_names(kind) + [f"{c.distribution}:{c.name}" for c in installed]

    def plain_names(self, kind: str) -> list[str]:
        """Names of one kind without their distributions."""
        return sorted(name for name in self._kind(kind) if _NAME.fullmatch(name))

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
            if not colon or claim.distribution == _normalise(distribution)
        ]
        if not claims:
            known = self.names(kind) if colon else self.plain_names(kind)
            raise UnknownComponentError(f"unknown {kind} {shorten(name)}{suggest(name, known)}")
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
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise ComponentError(f"{shorten(str(name))} {_NAME_RULE}")
        if not inspect.isclass(cls):
            raise ComponentError(f"{kind} {name!r} must be a class, not {type(cls).__name__}")
        target = f"{cls.__module__}:{cls.__qualname__}"
        claims = self._kind(kind).get(name, [])
        taken = [c for c in claims if not (c.distribution == NOTEBOOK and c.target == target)]
        if taken:
            raise ComponentClashError(f"{kind} {name!r} is taken by {taken[0].origin}; choose another name")
        component = Component(kind, name, NOTEBOOK, None, target, _import=lambda: cls)
        component.load()
        self._kind(kind)[name] = [component]


@functools.cache
def default_registry() -> Registry:
    """The registry of the installed distributions, read once a process."""
    groups = importlib.metadata.entry_points()
    points = (point for group in GROUPS.values() for point in groups.select(group=group))
    return Registry(scan(points, disabled_names()))


def register(kind: str, name: str) -> Callable[[C], C]:
    """Class decorator that adds a component for this process, as in a notebook.

    Example:
        >>> @zoo.register("encoder", "mine")
        ... class MyEncoder(zoo.contracts.Encoder): ...

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

    Raises:
        UnknownComponentError: for another kind.
    """
    return default_registry().plain_names(kind)
