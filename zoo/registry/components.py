"""Entry points become components: scanned without an import, each loaded on first use, a broken one isolated.

A plugin that raises, or was written for another API version, breaks no other: only a name that uses it raises. Of
several packages that offer one name, has8-zoo's own wins, with a warning; a record names the package of each component.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any, TypeVar, final

from zoo.errors import (
    ComponentError,
    MissingPluginError,
    ModelNameError,
    UnknownComponentError,
    ZooError,
    ZooWarning,
    shorten,
    suggest,
)
from zoo.names import Spec, Value, check_characters, plain_name, split_tag
from zoo.registry.installing import install_plugin, unknown_component

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
    "dataset": "zoo.datasets",
}
"""Component kinds and their entry-point groups."""

OURS = "has8-zoo"  # distribution of the built-in components
NOTEBOOK = "(registered here)"  # distribution shown for components that `zoo.register` added in this process
CATALOG_FILE = "registry.yaml"  # in a package that the group `zoo.catalogs` names
NAME = re.compile(r"[a-z][a-z0-9]*")  # of a component

C = TypeVar("C", bound=type)


def name_problem(kind: str, name: str) -> str | None:
    """Describe what is wrong with a component's name; None if it is valid."""
    is_in_names = kind not in ("catalog", "command", "energy_model", "dataset")  # of models
    if not is_in_names or NAME.fullmatch(name):
        return None
    return f"{shorten(name)} is not a component name: lower-case letters and digits, a letter first, no underscore"


def normalise(distribution: str) -> str:
    """Return a package's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


class State(StrEnum):
    """State of a component, as `zoo plugins` shows it."""

    AVAILABLE = "available"
    LOADED = "loaded"
    BROKEN = "broken"
    CONFLICT = "conflict"


@final
@dataclass
class Component:
    """One registered component; `load` imports its class.

    Attributes:
        kind: one of `GROUPS`.
        name: as in a model's name.
        distribution: normalised name of the distribution that offers it.
        version: of that distribution; None if unknown.
        target: `module:attribute`.
        importer: imports `target`.
        error: the reason if it cannot be used, as far as that is known.
        cause: the exception that its import raised.
    """

    kind: str
    name: str
    distribution: str
    version: str | None
    target: str
    importer: Callable[[], Any] = field(default=lambda: None, repr=False, compare=False)
    error: str | None = None
    cause: BaseException | None = field(default=None, repr=False, compare=False)
    _loaded: Any = field(default=None, repr=False, compare=False)

    @property
    def state(self) -> State:
        """State that is known so far, from this component alone."""
        if self.error is not None:
            return State.BROKEN
        return State.AVAILABLE if self._loaded is None else State.LOADED

    @property
    def origin(self) -> str:
        """`distribution version (target)`, for messages."""
        return f"{self.distribution} {self.version or ''}".strip() + f" ({self.target})"

    @property
    def summary(self) -> str | None:
        """First line of its docstring, read from its source without an import; None if there is none."""
        module, _, name = self.target.partition(":")
        try:
            spec = _find_module(module)
            source = ast.parse(Path(spec.origin).read_bytes() if spec and spec.origin else b"")
        except (OSError, SyntaxError, ValueError):
            return None
        classes = [node for node in source.body if isinstance(node, ast.ClassDef) and node.name == name]
        docs = [ast.get_docstring(node) or "" for node in (classes if name else [source])]
        return "".join(docs).partition("\n")[0] or None

    @property
    def works(self) -> bool:
        """Whether it can be imported and keeps its contract; imports it."""
        with suppress(ComponentError):
            self.load()
        return self.error is None

    def load(self) -> Any:
        """Import and check the component, once.

        Returns:
            The class; for a catalog the path of its file, for a command its typer app.

        Raises:
            ComponentError: it cannot be imported, breaks its contract, or is of another API version.
        """
        if self.state is State.AVAILABLE:
            try:
                with redirect_stdout(sys.stderr):  # what it prints must not stand between the lines of `--json`
                    loaded = self.importer()
                self.error = _problem(self.kind, loaded, self.target)
                self._loaded = loaded
            except (Exception, SystemExit) as error:  # a defect of the plugin
                self.error, self.cause = f"{type(error).__name__}: {error}", error
        if self.error is not None:
            problem = f"{self.kind} {self.name!r} of {self.origin} cannot be used: {self.error}"
            raise ComponentError(problem) from self.cause
        return self._loaded


_MADE_WITHOUT_ARGUMENTS = ("family", "encoder", "decoder", "neuron", "converter", "dataset")


def _problem(kind: str, loaded: Any, target: str) -> str | None:
    """Say how an imported object breaks the contract of its kind; None if it keeps it."""
    if kind == "catalog":  # a file, validated when it is read
        return None
    if kind == "command":
        return _command_problem(loaded, target)
    from zoo import contracts

    contract: type[Any] = getattr(contracts, kind.title().replace("_", ""))
    if not (inspect.isclass(loaded) and issubclass(loaded, contract)):
        return f"{target} is not a subclass of zoo.contracts.{contract.__name__}"
    version = getattr(loaded, "api_version", None)
    if version != contracts.API_VERSION:
        return f"{target} declares api_version {version!r}; this zoo offers {contracts.API_VERSION}"
    if missing := _missing_members(loaded, contract, kind in ("encoder", "decoder", "energy_model")):
        return f"{target} lacks {', '.join(missing)}"
    required = _required_arguments(loaded) if kind in _MADE_WITHOUT_ARGUMENTS else []
    return f"the constructor of {target} needs {', '.join(required)}; give each a default" if required else None


def _required_arguments(cls: type[Any]) -> list[str]:
    """List the arguments without which a class cannot be called."""
    free = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    required = [p for p in inspect.signature(cls).parameters.values() if p.default is inspect.Parameter.empty]
    return [parameter.name for parameter in required if parameter.kind not in free]


def _missing_members(cls: type[Any], contract: type[Any], attributes: bool) -> list[str]:
    """List the abstract methods that a class lacks, and the attributes that its contract declares if these count."""
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if attributes:
        declared = {name for base in cls.__mro__ for name in vars(base)}
        missing += sorted(name for name in inspect.get_annotations(contract) if name not in declared)
    return missing


def _command_problem(loaded: Any, target: str) -> str | None:
    import typer

    if not isinstance(loaded, typer.Typer):
        return f"{target} is not a typer.Typer"
    typer.main.get_command(loaded)  # raises if it has no command
    return None


def _find_module(name: str) -> ModuleSpec | None:
    """Find a module without importing it or the packages around it."""
    top, *inner = name.split(".")
    spec = importlib.util.find_spec(top)
    for part in inner:
        spec = spec and PathFinder.find_spec(part, spec.submodule_search_locations or [])
    return spec


def package_file(package: str, path: str) -> Path:
    """Find a file of a package without importing anything; raises `ModuleNotFoundError` if it is not there."""
    spec = _find_module(package)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        if (file := Path(folder, path)).is_file():
            return file
    raise ModuleNotFoundError(f"package {package!r} holds no {path}", name=package)


# Scanning -------------------------------------------------------------------------------------------------------------


def scan(points: Iterable[importlib.metadata.EntryPoint]) -> Iterator[Component]:
    """Make components of entry points in the zoo's groups without importing anything."""
    kinds = {group: kind for kind, group in GROUPS.items()}
    described = functools.cache(_described)  # metadata is parsed at every access
    for point in dict.fromkeys(points):
        kind, (distribution, version) = kinds[point.group], described(point.dist)
        importer = functools.partial(package_file, point.value, CATALOG_FILE) if kind == "catalog" else point.load
        problem = name_problem(kind, point.name)
        yield Component(kind, point.name, distribution, version, point.value, importer, problem)


def _described(distribution: importlib.metadata.Distribution | None) -> tuple[str, str | None]:
    """Return the normalised name and the version of a package."""
    if distribution is None or not distribution.metadata["Name"]:
        return "(unknown)", None
    return normalise(distribution.metadata["Name"]), distribution.version


# The registry ---------------------------------------------------------------------------------------------------------


@final
class Registry:
    """All components, by kind and name."""

    def __init__(self, components: Iterable[Component] = ()) -> None:
        self._components: dict[str, dict[str, list[Component]]] = {kind: {} for kind in GROUPS}
        for component in components:
            self._components[component.kind].setdefault(component.name, []).append(component)

    def components(self, kind: str | None = None) -> list[Component]:
        """List all components, broken ones too, by kind and name."""
        kinds = [kind] if kind else GROUPS
        return [component for one in kinds for _, claims in sorted(self._kind(one).items()) for component in claims]

    def names(self, kind: str) -> list[str]:
        """List the names of one kind, plain and as `distribution:name`."""
        installed = [c for c in self.components(kind) if c.distribution != NOTEBOOK and not name_problem(kind, c.name)]
        return self.plain_names(kind) + [f"{c.distribution}:{c.name}" for c in installed]

    def plain_names(self, kind: str) -> list[str]:
        """List the names of one kind without packages."""
        return sorted(name for name in self._kind(kind) if not name_problem(kind, name))

    def _kind(self, kind: str) -> dict[str, list[Component]]:
        if kind not in self._components:
            raise UnknownComponentError(f"unknown component kind {shorten(str(kind))}{suggest(str(kind), GROUPS)}")
        return self._components[kind]

    def find(self, kind: str, name: str) -> Component:
        """Find the component of a name or of `distribution:name`, has8-zoo's own before others.

        Nothing is imported, unless several other packages offer the name: a broken one is no claim.

        Raises:
            UnknownComponentError: no installed package offers it.
            ComponentError: several do.
        """
        claims = self._claims(kind, name)
        if not claims:
            raise unknown_component(kind, name, self.names(kind))
        if (own := _own(claims)) is not None or len(claims) == 1:
            return own or claims[0]
        working = [claim for claim in claims if claim.works]
        if len(working) > 1:
            raise ComponentError(_clash(working))
        return (working or claims)[0]

    def _claims(self, kind: str, name: str) -> list[Component]:
        owner, colon, plain = name.rpartition(":")
        return [c for c in self._kind(kind).get(plain, []) if not colon or c.distribution == normalise(owner)]

    def load(self, kind: str, name: str) -> Any:
        """Load the class behind a name; raises as `find` and `Component.load` do."""
        return self.find(kind, name).load()

    def choose(self, kind: str, name: str) -> Any:
        """Load the class behind a name that a user wrote: as `load`, with the warning of `warn_of_rivals`."""
        self.warn_of_rivals(kind, name)
        return self.load(kind, name)

    def warn_of_rivals(self, kind: str, name: str) -> None:
        """Warn if has8-zoo's own component is taken though another package offers a working one."""
        claims = self._claims(kind, name)
        own = _own(claims)
        if own and (others := [claim for claim in claims if claim is not own and claim.works]):
            warnings.warn(_clash([own, *others]), ZooWarning, stacklevel=3)

    def of_record(self, providers: Iterable[str], components: Mapping[str, str]) -> Registry:
        """Return the components as a record means them, which names distributions, and those of some kinds."""
        stored = {normalise(name) for name in providers}
        chosen: list[Component] = []
        for kind, names in self._components.items():
            named = normalise(components.get(kind, ""))
            for claims in names.values():
                of_stated = [c for c in claims if c.distribution == named]
                of_stored = [c for c in claims if c.distribution in stored]
                own = _own(of_stored)
                chosen += of_stated or ([own] if own else of_stored) or claims
        return Registry(chosen)

    def full_name(self, component: Component) -> str:
        """Return the shortest name that means this component, `distribution:name` if others win its plain name."""
        claims = self._components[component.kind].get(component.name, [])
        alone = len(claims) < 2 or _own(claims) is component
        return component.name if alone else f"{component.distribution}:{component.name}"

    def status(self, component: Component) -> tuple[State, str | None]:
        """Return a component's state and its reason, considering the others that claim its name."""
        claims = [claim for claim in self._components[component.kind][component.name] if claim.error is None]
        wins = len(claims) < 2 or component.kind == "catalog" or _own(claims) is component
        if component.error is None and not wins:
            return State.CONFLICT, _clash(claims)
        return component.state, component.error

    def register(self, kind: str, name: str, cls: type[Any]) -> None:
        """Add a class as the function `register` does; a cell of a notebook that runs again replaces its own class."""
        if problem := name_problem(kind, str(name)):
            raise ComponentError(problem)
        target = f"{getattr(cls, '__module__', '')}:{getattr(cls, '__qualname__', repr(cls))}"
        claims = self._kind(kind).get(name, [])
        rivals = [c for c in claims if not (c.distribution == NOTEBOOK and c.target == target)]
        if rivals:
            raise ComponentError(f"{kind} {name!r} is taken by {rivals[0].origin}; choose another name")
        component = Component(kind, name, NOTEBOOK, None, target, lambda: cls)
        component.load()
        self._kind(kind)[name] = [component]


def _own(claims: Iterable[Component]) -> Component | None:
    """Return has8-zoo's own component, unless it is known to be broken."""
    return next((claim for claim in claims if claim.distribution == OURS and claim.error is None), None)


def _clash(claims: Iterable[Component]) -> str:
    """Say who claims a name, and what to write."""
    claims = sorted(claims, key=lambda claim: claim.distribution)  # the same message whatever the order of sys.path
    kind, name = claims[0].kind, claims[0].name
    claim = f"{kind} {name!r} is claimed by {' and '.join(claim.origin for claim in claims)}"
    own = _own(claims)
    choices = " or ".join(repr(f"{claim.distribution}:{name}") for claim in claims if claim is not own)
    if own is not None:
        return f"{claim}; {name!r} means that of {OURS}; write {choices} for another, or uninstall it"
    return f"{claim}; write {choices}, or uninstall one"


@functools.cache
def default_registry() -> Registry:
    """Return the registry of the installed packages, read once a process."""
    points = importlib.metadata.entry_points()
    return Registry(scan(point for group in GROUPS.values() for point in points.select(group=group)))


def register(kind: str, name: str) -> Callable[[C], C]:
    """Decorate a class to add it as a component of this process, as in a notebook.

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
        ComponentError: the name is taken, or the class breaks the contract of its kind.
    """

    def add(cls: C) -> C:
        default_registry().register(kind, name, cls)
        return cls

    return add


def list_components(kind: str) -> list[str]:
    """List the registered components of one kind, such as family, backbone, encoder, decoder or neuron.

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
    """Parse a model name such as `has8_resnet_b32_m2_d4_fourier_bpd.cifar10` into its spec.

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
    try:
        component = registry.find("family", family_name)
        family = component.load()()
        fields = family.parse(remainder, registry.names)
        for kind, value in (("family", family_name), *fields):
            if kind in GROUPS:
                registry.warn_of_rivals(kind, str(value))
        return _spec_of(family_name, family, fields, tag)
    except ModelNameError as error:
        if isinstance(error, UnknownComponentError) and error.component:  # a plugin may have it
            error = unknown_component(error.kind, error.component, registry.names(error.kind))
        raise type(error)(f"{error} (in {shorten(name, 120)})") from None
    except ZooError:
        raise
    except Exception as error:  # a defect of the plugin
        problem = f"cannot read {shorten(name, 120)}: {type(error).__name__}: {error}"
        raise ComponentError(f"family {family_name!r} of {component.origin} {problem}") from error


def _spec_of(name: str, family: Any, fields: Iterable[tuple[str, Value]], tag: str | None) -> Spec:
    """Make the spec of a family's fields."""
    fields = tuple(fields)
    plain = {kind: plain_name(value) if isinstance(value, str) else value for kind, value in fields}
    text = f"{plain_name(name)}_{family.format(plain)}"
    return Spec(name, fields, f"{name}_{family.format(dict(fields))}", tag, plain_text=text)


def parse_stored(
    variant: str, providers: Iterable[str], components: Mapping[str, str], registry: Registry | None = None
) -> tuple[Spec, Spec]:
    """Parse the name that a record stores, of components from the packages that it names; raises as `parse_name` does.

    Returns the spec as its name says, and the same with `distribution:name` for each component that its plain name does
    not mean here.
    """
    registry = registry or default_registry()
    stored = registry.of_record(providers, components)
    spec = parse_name(variant, stored)
    here = {kind: registry.full_name(stored.find(kind, str(spec[kind]))) for kind, _ in spec.fields if kind in GROUPS}
    family = stored.find("family", spec.family)
    fields = tuple((kind, here.get(kind, value)) for kind, value in spec.fields)
    return spec, _spec_of(registry.full_name(family), family.load()(), fields, None)


def providers_of(spec: Spec, registry: Registry | None = None) -> list[Component]:
    """List the components of a name: its family, and each field that names one or that `named_by` lists."""
    registry = registry or default_registry()
    used = [("family", spec.family)] + [(kind, str(value)) for kind, value in spec.fields if kind in GROUPS]
    others = registry.load("family", spec.family).named_by.items()
    return [registry.find(kind, name) for kind, name in used] + [
        Component(kind, str(spec[kind]), distribution, importlib.metadata.version(distribution), distribution)
        for kind, distribution in others
    ]


def check_providers(spec: Spec, stored: Iterable[str], place: str, registry: Registry | None = None) -> None:
    """Raise `MissingPluginError` if a component comes from another package than those stored at `place`."""
    components = providers_of(spec, registry)
    expected = {normalise(name) for name in stored}
    strange = [c for c in components if c.distribution != NOTEBOOK and normalise(c.distribution) not in expected]
    missing = expected - {normalise(c.distribution) for c in components}
    if strange or missing:
        here = ", ".join(f"{c.kind} {c.name!r} of {c.origin}" for c in strange or components)
        message = f"{place} was made with {', '.join(sorted(expected))}; here its name means {here}"
        advice = ", ".join(map(install_plugin, sorted(missing)))
        raise MissingPluginError(message + (f"; install with: {advice}" if advice else ""))
