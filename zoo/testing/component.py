"""What a suite is, and the checks that every kind of component passes."""

from __future__ import annotations

import functools
import inspect
from abc import ABC
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from zoo.contracts import API_VERSION
from zoo.errors import ComponentError, UnknownComponentError
from zoo.registry import NOTEBOOK, Component, Registry, default_registry
from zoo.testing.imports import import_deeds
from zoo.testing.outcome import ConformanceError, NotApplicable, require

PREFIX = "test_"


class ComponentTests(ABC):  # noqa: B024
    """The suite of a component; subclass that of its kind in a test file, and name the component.

    Every method `test_…` is one check. Under pytest each is a test; `zoo.testing.check_component` runs them
    without pytest.

    Attributes:
        kind: set by the suite of the kind.
        name: the component's, as it stands in a model's name. Its distribution must be installed.
        exempt: checks that this component fails on purpose, with the reason: {"batch_mates_change_nothing":
            "the published range step"}. Such a check must go on failing: where it passes, the exemption is out
            of date and that is an error.
        registry: where to find the component; what is installed by default.
    """

    kind: str = ""
    name: str = ""
    exempt: ClassVar[Mapping[str, str]] = {}
    registry: Registry | None = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for check, reason in vars(cls).get("exempt", {}).items():
            if check not in checks_of(cls):
                raise ConformanceError(f"{cls.__name__}.exempt names {check!r}; valid: {', '.join(checks_of(cls))}")
            setattr(cls, PREFIX + check, _exempted(getattr(cls, PREFIX + check), check, reason))

    @property
    def components(self) -> Registry:
        """The registry in use."""
        return self.registry or default_registry()

    @property
    def component(self) -> Component:
        """The component's handle."""
        __tracebackhide__ = True
        require(bool(self.name), f'{type(self).__name__} names no {self.kind}; add `name = "…"` to it')
        try:
            return self.components.find(self.kind, self.name)
        except UnknownComponentError as error:
            raise ConformanceError(
                f"{error}; install the distribution (pip install -e .), and look at its entry points"
            ) from error
        except ComponentError as error:
            raise ConformanceError(str(error)) from error

    def load(self) -> Any:
        """The component's class; of a catalog its file."""
        __tracebackhide__ = True
        component = self.component
        try:
            return component.load()
        except ComponentError as error:
            raise ConformanceError(str(error)) from error

    def test_it_loads(self) -> None:
        """Its entry point names what its kind asks for, written for this version of the API."""
        self.load()


class ClassTests(ComponentTests):
    """What every component that is a class has to do, whatever its kind."""

    def test_it_declares_its_own_api_version(self) -> None:
        """Inherited from a class of the zoo, `api_version` would follow every new zoo without being tested on it."""
        cls = self.load()
        owner = next(base for base in cls.__mro__ if "api_version" in vars(base))
        require(
            owner.__module__.partition(".")[0] == cls.__module__.partition(".")[0],
            f"`api_version` of {cls.__name__} is inherited from {owner.__module__}.{owner.__name__}; "
            f"write `api_version = {API_VERSION}` in your own class",
        )

    def test_importing_it_does_nothing_else(self) -> None:
        """In a fresh process the import prints nothing and leaves random generators, settings and registry alone."""
        component = self.component
        module = component.target.partition(":")[0]
        if component.distribution == NOTEBOOK:
            raise NotApplicable("a class registered in this process has no import of its own")
        deeds = import_deeds(module)
        require(not deeds, f"importing {module} {'; it '.join(deeds)}; move that into a function or a constructor")


def full_name(component: Component) -> str:
    """As it stands in a model's name: behind its distribution, unless it was registered in this process."""
    ours = component.distribution == NOTEBOOK
    return component.name if ours else f"{component.distribution}:{component.name}"


def checks_of(suite: type[ComponentTests]) -> tuple[str, ...]:
    """Names of a suite's checks, the most general ones first."""
    classes = [base for base in reversed(suite.__mro__) if issubclass(base, ComponentTests)]
    names = [name for base in classes for name in vars(base) if name.startswith(PREFIX)]
    return tuple(dict.fromkeys(name.removeprefix(PREFIX) for name in names))


def require_defaults(cls: type[Any], options: Iterable[str]) -> dict[str, Any]:
    """The default of each option; raises `ConformanceError` where the constructor does not take it, or demands it."""
    parameters = inspect.signature(cls).parameters
    for name in sorted(options):
        require(name in parameters, f"`options` names {name!r}, which the constructor of {cls.__name__} does not take")
        required = parameters[name].default is inspect.Parameter.empty
        require(not required, f"option {name!r} has no default value; give it one")
    return {name: parameters[name].default for name in sorted(options)}


def _exempted(method: Callable[[Any], None], check: str, reason: str) -> Callable[[Any], None]:
    """A check that must fail, and then counts as skipped."""

    @functools.wraps(method)
    def exempted(self: ComponentTests) -> None:
        __tracebackhide__ = True
        try:
            method(self)
        except ConformanceError as error:
            raise NotApplicable(f"exempt ({reason}): {error}") from None
        raise ConformanceError(f"{check} is exempt ({reason}), but passes; take it out of `exempt`")

    return exempted
