"""Entry points become components: scanned without an import, each loaded when first used, a broken one isolated.

A component is a class that a distribution names in one of the entry-point groups below. Its module is imported when a
model first needs it. A plugin that raises, or was written for another API version, breaks no other: its component
keeps the reason, `zoo plugins` shows it, and only a name that uses it raises.
"""

from __future__ import annotations

import ast
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
from types import MappingProxyType
from typing import Any, TypeVar, final

from zoo.contracts.family import About
from zoo.errors import (
    ComponentError,
    MissingPluginError,
    ModelNameError,
    UnknownComponentError,
    ZooError,
    install_plugin,
    missing_extra,
    shorten,
    suggest,
    unknown_component,
)
from zoo.names import Spec, check_characters, split_tag

GROUPS = {
    "family": "zoo.families",
    "backbone": "zoo.backbones",
    "encoder": "zoo.encoders",
    "decoder": "zoo.decoders",
    "neuron": "zoo.neurons",
    "converter": "zoo.converters",
    "catalog": "zoo.catalogs",
    "command": "zoo.commands",
    "energy_model": "zoo.energy_models",
}
"""Component kinds and their entry-point groups."""

OURS = "has8-zoo"
"""The distribution of the built-in components."""

NOTEBOOK = "(registered here)"
"""The distribution shown for components that `zoo.register` added in this process."""

DISABLE = "ZOO_DISABLE_PLUGINS"
"""Environment variable: what is switched off, as distributions, names or `distribution:name` between commas."""

CATALOG_FILE = "registry.yaml"
"""The file in a package that the group `zoo.catalogs` names."""

EXTRAS = MappingProxyType({(kind, "timm"): ("timm", "timm") for kind in ("family", "converter")})
"""Built-in components that need a module of an extra: kind and name → module and extra."""

OWN_COMMANDS = (
    "list",
    "info",
    "predict",
    "show",
    "profile",
    "compare",
    "train",
    "eval",
    "pack",
    "export",
    "publish",
    "convert",
    "plugins",
)
"""Commands of the zoo itself, whose names no plugin can take."""

_CONSTRUCTED_WITH = {
    "encoder": (),
    "decoder": (),
    "neuron": (),
    "backbone": ("base", "mult", "depth", "in_chans"),
    "energy_model": ("network",),
}
"""The arguments with which the zoo constructs a component, if a contract fixes them."""

NAME = re.compile(r"[a-z][a-z0-9]*")
"""The form of a component's name."""

C = TypeVar("C", bound=type)


def name_problem(kind: str, name: str) -> str | None:
    """The reason why a component of a kind cannot have a name; None if it can."""
    if kind == "catalog":
        return None
    if kind in ("command", "energy_model"):  # never part of a model's name
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
            return f"{name!r} is not a name of a command or a model of energy: lower-case letters, digits and hyphens"
        return f"`zoo {name}` is the zoo's own" if kind == "command" and name in OWN_COMMANDS else None
    if NAME.fullmatch(name):
        return None
    return f"{shorten(name)} is not a component name: lower-case letters and digits, a letter first, no underscore"


def normalise(distribution: str) -> str:
    """A distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


class State(StrEnum):
    """The state of a component, as `zoo plugins` shows it."""

    AVAILABLE = "available"
    LOADED = "loaded"
    BROKEN = "broken"
    INCOMPATIBLE = "incompatible"
    CONFLICT = "conflict"
    DISABLED = "disabled"
    INCOMPLETE = "incomplete"


UNUSABLE = (State.BROKEN, State.INCOMPATIBLE, State.DISABLED)


@final
@dataclass
class Component:
    """One registered component; its class is imported by `load`.

    Attributes:
        kind: one of `GROUPS`.
        name: as in a model's name.
        distribution: the normalised name of the distribution that offers it.
        version: of that distribution; None if unknown.
        target: `module:attribute`.
        importer: imports what `target` names.
        state: what is known so far.
        error: the reason why it cannot be used, with traceback.
    """

    kind: str
    name: str
    distribution: str
    version: str | None
    target: str
    importer: Callable[[], Any] = field(default=lambda: None, repr=False, compare=False)
    state: State = State.AVAILABLE
    error: str | None = None
    _loaded: Any = field(default=None, repr=False, compare=False)

    @property
    def origin(self) -> str:
        """`distribution version (target)`, for messages."""
        return f"{self.distribution} {self.version or ''}".strip() + f" ({self.target})"

    @property
    def summary(self) -> str | None:
        """The first line of its docstring, read from its source without an import; None if that shows none."""
        with suppress(ImportError, OSError, SyntaxError, ValueError, RecursionError):
            return _summary(self.target)
        return None

    def load(self) -> Any:
        """Import and check the component, once.

        Returns:
            The class; of a catalog the path of its file, of a command its typer app.

        Raises:
            ComponentError: it cannot be imported, is no such component, is switched off, or is of another API version.
        """
        if self._loaded is not None:
            return self._loaded
        if self.state in UNUSABLE:
            raise self._failure()
        try:
            target = self.importer()
            problem = _problem(self.kind, target, self.target)
        except (Exception, SystemExit) as error:  # a defect of the plugin, shown when it is used
            problem = State.BROKEN, _traceback(error)
        if self._loaded is not None:  # loaded meanwhile: by another thread, or by its own module
            return self._loaded
        if problem is not None:
            self.fail(problem[1], problem[0])
            raise self._failure()
        self._loaded, self.state = target, State.LOADED
        return target

    def lacking(self) -> str | None:
        """The extra that has to be installed before it can be used, as a sentence; None if nothing is missing."""
        if self.distribution != OURS or (self.kind, self.name) not in EXTRAS:
            return None
        module, extra = EXTRAS[self.kind, self.name]
        if importlib.util.find_spec(module) is not None:
            return None
        return str(missing_extra(ModuleNotFoundError(name=module), f"the {self.kind} {self.name}", extra))

    def fail(self, reason: str, state: State = State.BROKEN) -> None:
        """Keep the reason why it cannot be used."""
        self.error, self.state, self._loaded = reason, state, None

    def _failure(self) -> ComponentError:
        return ComponentError(f"{self.kind} {self.name!r} of {self.origin} cannot be used: {self.error}")


# Checks of what was imported ------------------------------------------------------------------------------------------


def _traceback(error: BaseException) -> str:
    """The traceback, with a last line that is understood alone; of a syntax error it names file and line."""
    text = "".join(traceback.format_exception(error)).rstrip()
    summary = " ".join("".join(traceback.format_exception_only(error)).split())
    if isinstance(error, SyntaxError) and error.filename:
        summary = f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    return text if text.splitlines()[-1] == summary else f"{text}\n{summary}"


def _problem(kind: str, found: Any, target: str) -> tuple[State, str] | None:
    """The reason why an imported object is not a component of a kind; None if it is one."""
    if kind == "catalog":  # a file, which is validated when it is read
        return None
    if kind == "command":
        import typer

        return None if isinstance(found, typer.Typer) else (State.BROKEN, f"{target} is not a typer.Typer")
    from zoo import contracts

    contract: type[Any] = getattr(contracts, kind.title().replace("_", ""))
    if not (inspect.isclass(found) and issubclass(found, contract)):
        return State.BROKEN, f"{target} is not a subclass of zoo.contracts.{contract.__name__}"
    version = getattr(found, "api_version", None)
    if version != contracts.API_VERSION:
        request = "declares no api_version" if version is None else f"asks for API version {version!r}"
        advice = f"set `api_version = {contracts.API_VERSION}` in the class, or install matching versions"
        return State.INCOMPATIBLE, f"{target} {request}, this zoo offers {contracts.API_VERSION}; {advice}"
    if inspect.isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))  # type: ignore[attr-defined]
        return State.BROKEN, f"{target} leaves abstract: {missing}"
    declared = {name for base in found.__mro__ for name in vars(base)}
    lacking = sorted(name for name in inspect.get_annotations(contract) if name not in declared)
    if lacking and kind in ("encoder", "decoder", "energy_model"):
        return State.BROKEN, f"{target} lacks the class attributes {', '.join(lacking)}"
    return _construction_problem(kind, found, target)


def _construction_problem(kind: str, cls: type[Any], target: str) -> tuple[State, str] | None:
    """The reason why a constructor does not take what the zoo gives it; None if it does."""
    arguments = _CONSTRUCTED_WITH.get(kind)
    if arguments is None:
        return None
    try:
        inspect.signature(cls).bind(*arguments)
    except ValueError:  # written in C, without a signature
        return None
    except TypeError as error:
        given = f"the arguments {', '.join(arguments)}" if arguments else "no argument"
        reason = f"the zoo constructs every {kind} with {given}; give every further argument a default"
        return State.BROKEN, f"{target} cannot be constructed: {error}. {reason}"
    return None


def _summary(target: str) -> str | None:
    module, _, name = target.partition(":")
    top, *inner = module.split(".")
    found = importlib.util.find_spec(top)  # of an outermost package nothing is run
    if found is None or found.origin is None:
        return None
    places = [Path(folder, *inner) for folder in found.submodule_search_locations or ()]
    files = [file for place in places for file in (place / "__init__.py", place.with_name(f"{place.name}.py"))]
    file = next((file for file in files if file.is_file()), Path(found.origin))
    body = ast.parse(file.read_bytes())
    nodes = [node for node in body.body if isinstance(node, ast.ClassDef) and node.name == name] if name else [body]
    return next(iter((ast.get_docstring(nodes[0]) or "").splitlines()), None) if nodes else None


# Scanning -------------------------------------------------------------------------------------------------------------


def installed_points() -> list[importlib.metadata.EntryPoint]:
    """The entry points in the zoo's groups of everything installed; a distribution whose metadata is damaged has none.

    Of several distributions with one name, the first on sys.path counts, as for Python's own `entry_points`; one
    without a METADATA file has no name, and counts.
    """
    groups = frozenset(GROUPS.values())
    points: dict[object, list[importlib.metadata.EntryPoint]] = {}
    for distribution in importlib.metadata.distributions():
        with suppress(Exception):  # a damaged installation raises whatever the parser happens to raise
            if "[zoo." in (distribution.read_text("entry_points.txt") or ""):
                name = distribution.metadata["Name"]
                key = normalise(name) if name else distribution
                points.setdefault(key, [point for point in distribution.entry_points if point.group in groups])
    return [point for found in points.values() for point in found]


def damaged_metadata() -> list[str]:
    """Distributions whose entry points Python cannot read, with place and reason; pydantic and torch fail on them."""
    damaged = []
    for distribution in importlib.metadata.distributions():
        try:
            distribution.entry_points  # noqa: B018 (it is parsed at every access)
        except Exception as error:  # whatever the parser happens to raise
            place = f"{distribution.metadata['Name']} in {distribution.locate_file('')}"
            damaged.append(f"{place} ({type(error).__name__}: {error})")
    return damaged


def disabled_names(environment: Mapping[str, str] = os.environ) -> frozenset[str]:
    """The entries of `ZOO_DISABLE_PLUGINS`."""
    return frozenset(name.strip() for name in environment.get(DISABLE, "").split(",") if name.strip())


def scan(
    points: Iterable[importlib.metadata.EntryPoint], disabled: frozenset[str] = frozenset()
) -> Iterator[Component]:
    """Components of entry points; nothing is imported.

    Args:
        points: those of other groups are passed over.
        disabled: distributions, names, or `distribution:name` that stay visible but cannot be used.
    """
    kinds = {group: kind for kind, group in GROUPS.items()}
    described: dict[importlib.metadata.Distribution | None, tuple[str, str | None]] = {None: ("(unknown)", None)}
    seen = set()
    for point in points:
        if point.group not in kinds:
            continue
        if point.dist is not None and point.dist not in described:  # its metadata is parsed at every access
            metadata = point.dist.metadata
            described[point.dist] = normalise(metadata["Name"] or "(unknown)"), metadata["Version"]
        distribution, version = described[point.dist]
        key = (point.group, point.name, point.value, distribution)
        if key in seen:
            continue
        seen.add(key)
        kind = kinds[point.group]
        importer = functools.partial(package_file, point.value, CATALOG_FILE) if kind == "catalog" else point.load
        component = Component(kind, point.name, distribution, version, point.value, importer)
        if any(_switches_off(entry, component) for entry in disabled):
            component.fail(f"switched off by the environment variable {DISABLE}", State.DISABLED)
        elif problem := name_problem(kind, point.name):
            component.fail(problem)
        yield component


def _switches_off(entry: str, component: Component) -> bool:
    owner, colon, name = entry.rpartition(":")
    if colon:
        return (normalise(owner), name) == (component.distribution, component.name)
    return entry == component.name or normalise(entry) == component.distribution


def idle_switches(components: Iterable[Component], disabled: Iterable[str]) -> list[str]:
    """Entries of `ZOO_DISABLE_PLUGINS` that match no component."""
    components = list(components)
    return sorted(entry for entry in disabled if not any(_switches_off(entry, each) for each in components))


def package_file(package: str, path: str) -> Path:
    """A file of a package, which is not imported; nor are the packages around it.

    Raises:
        ModuleNotFoundError: no such package, or one without that file.
    """
    top, *inner = package.split(".")
    spec = importlib.util.find_spec(top)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (file := Path(folder, *inner, path)).is_file():
            return file
    raise ModuleNotFoundError(f"package {package!r} holds no {path}", name=package)


# The registry ---------------------------------------------------------------------------------------------------------


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
        """The component of a name, or of `distribution:name`; nothing is imported.

        Raises:
            UnknownComponentError: no installed distribution offers it.
            ComponentError: several do.
        """
        owner, colon, plain = name.rpartition(":")
        claims = [c for c in self._kind(kind).get(plain, []) if not colon or c.distribution == normalise(owner)]
        if not claims:
            known = self.names(kind) if colon else self.plain_names(kind)
            raise unknown_component(kind, name, suggest(name, known))
        enabled = _enabled(claims)
        if len(enabled) > 1:
            raise ComponentError(_clash(enabled))
        return (enabled or claims)[0]

    def load(self, kind: str, name: str) -> Any:
        """The class behind a name; raises as `find` and `Component.load` do."""
        return self.find(kind, name).load()

    def status(self, component: Component) -> tuple[State, str | None]:
        """A component's state and the reason, with regard to the others that claim its name."""
        claims = _enabled(self._components[component.kind][component.name])
        if component.error is None and len(claims) > 1 and component.kind != "catalog":
            return State.CONFLICT, _clash(claims)
        if component.error is None and (lacking := component.lacking()):
            return State.INCOMPLETE, lacking
        return component.state, component.error

    def check(self) -> list[Component]:
        """Import every component, so that each one's state is known; all of them are returned."""
        for component in self.components():
            if component.state is State.AVAILABLE:
                with suppress(ComponentError):  # kept in its state and error
                    component.load()
        return self.components()

    def register(self, kind: str, name: str, cls: type[Any]) -> None:
        """Add a class of this process.

        Running the same notebook cell again replaces its own class; nothing else is ever replaced.

        Raises:
            ComponentError: the name is taken; or the class does not fulfil the contract of its kind.
        """
        if problem := name_problem(kind, str(name)):
            raise ComponentError(problem)
        if not inspect.isclass(cls):
            raise ComponentError(f"{kind} {name!r} must be a class, not {type(cls).__name__}")
        target = f"{cls.__module__}:{cls.__qualname__}"
        claims = self._kind(kind).get(name, [])
        rivals = [c for c in claims if not (c.distribution == NOTEBOOK and c.target == target)]
        if rivals:
            raise ComponentError(f"{kind} {name!r} is taken by {rivals[0].origin}; choose another name")
        component = Component(kind, name, NOTEBOOK, None, target, lambda: cls)
        component.load()
        self._kind(kind)[name] = [component]


def _enabled(claims: Iterable[Component]) -> list[Component]:
    return [claim for claim in claims if claim.state is not State.DISABLED]


def _clash(claims: Iterable[Component]) -> str:
    claims = sorted(claims, key=lambda claim: claim.distribution)  # the same message whatever the order of sys.path
    origins = " and ".join(claim.origin for claim in claims)
    choices = " or ".join(repr(f"{claim.distribution}:{claim.name}") for claim in claims)
    return f"{claims[0].kind} {claims[0].name!r} is claimed by {origins}; write {choices}, or uninstall one"


@functools.cache
def default_registry() -> Registry:
    """The registry of the installed distributions, read once a process."""
    return Registry(scan(installed_points(), disabled_names()))


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
        ComponentError: the name is taken; or the class does not fulfil the contract of its kind.
    """

    def add(cls: C) -> C:
        default_registry().register(kind, name, cls)
        return cls

    return add


def list_components(kind: str) -> list[str]:
    """Names of the registered components of one kind, such as family, backbone, encoder, decoder or neuron.

    Example:
        >>> import zoo
        >>> "bpd" in zoo.list_components("decoder")
        True

    Raises:
        UnknownComponentError: for another kind.
    """
    return default_registry().plain_names(kind)


# Names and their components -------------------------------------------------------------------------------------------


def parse_name(name: str, registry: Registry | None = None) -> Spec:
    """The spec of a model name such as `has8_resnet_b32_m2_d4_fourier_bpd.cifar10`.

    Example:
        >>> import zoo
        >>> spec = zoo.parse_name("has8_resnet_b32_m2_d4_fourier_bpd.cifar10")
        >>> spec.tag, spec["base"], str(spec.untagged())
        ('cifar10', 32, 'has8_resnet_b32_m2_d4_fourier_bpd')

    Raises:
        ModelNameError: (a ValueError) naming the part that is wrong and the nearest valid ones.
    """
    registry = registry or default_registry()
    check_characters(name)
    variant, tag = split_tag(name)
    family_name, _, remainder = variant.partition("_")
    if family_name not in registry.names("family"):
        families = registry.plain_names("family")
        raise unknown_component("family", family_name, f"{suggest(family_name, families)} (in {shorten(name)})")
    component = registry.find("family", family_name)
    kind = component.load()
    try:
        family = kind()
        fields = family.parse(remainder, registry.names)
        return Spec(family_name, fields, f"{family_name}_{family.format(dict(fields))}", tag)
    except ModelNameError as error:
        raise type(error)(f"{error} (in {shorten(name, 120)})") from None
    except ZooError:
        raise
    except Exception as error:  # a defect of the plugin
        said = f"{type(error).__name__}: {error}"
        raise ComponentError(
            f"family {family_name!r} of {component.origin} cannot read {shorten(name, 120)}: {said}"
        ) from error


def about_model(spec: Spec, timesteps: int, registry: Registry | None = None) -> About:
    """What the family says of a network on its model card.

    Raises:
        ComponentError: the family fails, or returns something else than an `About`.
    """
    component = (registry or default_registry()).find("family", spec.family)
    kind = component.load()
    try:
        about = kind().about(dict(spec.fields), timesteps)
    except Exception as error:  # a defect of the plugin
        said = f"{type(error).__name__}: {error}"
        raise ComponentError(f"family {spec.family!r} of {component.origin} cannot describe {spec}: {said}") from error
    if not isinstance(about, About):
        said = f"returns {type(about).__name__}, not zoo.contracts.About"
        raise ComponentError(f"`about` of family {spec.family!r} of {component.origin} {said}")
    return about


def providers_of(spec: Spec, registry: Registry | None = None) -> list[Component]:
    """The components that a name is made of: its family, and each field that names one, or that `named_by` lists."""
    registry = registry or default_registry()
    used = [("family", spec.family)] + [(kind, str(value)) for kind, value in spec.fields if kind in GROUPS]
    others = registry.load("family", spec.family).named_by.items()
    return [registry.find(kind, name) for kind, name in used] + [
        Component(kind, str(spec[kind]), distribution, importlib.metadata.version(distribution), distribution)
        for kind, distribution in others
    ]


def check_providers(spec: Spec, stored: Iterable[str], place: str, registry: Registry | None = None) -> None:
    """Check that the components of a stored network come from the distributions that it was made with.

    Args:
        spec: of the network.
        stored: the distributions that were recorded.
        place: of the record, for the message.

    Raises:
        MissingPluginError: a component of that name is there, but is another distribution's.
    """
    components = providers_of(spec, registry)
    expected = {normalise(name) for name in stored}
    strange = [c for c in components if c.distribution != NOTEBOOK and normalise(c.distribution) not in expected]
    missing = expected - {normalise(c.distribution) for c in components}
    if not strange and not missing:
        return
    here = ", ".join(f"{c.kind} {c.name!r} of {c.origin}" for c in strange or components)
    message = f"{place} was made with {', '.join(sorted(expected))}; here its name means {here}"
    advice = ", ".join(install_plugin(name) for name in sorted(missing))
    raise MissingPluginError(f"{message}" + (f"; install with: {advice}" if advice else ""))
