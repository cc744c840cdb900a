"""A component's handle: imported and checked when it is first needed, and why it cannot be used where it cannot.

Whatever a plugin raises at import, SystemExit too, is kept as the reason why it cannot be used. KeyboardInterrupt alone
passes: nobody can tell a plugin's own from the user's Ctrl-C. What it prints goes to stderr, so that JSON stays JSON.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, final

from zoo.errors import BrokenComponentError, ComponentError, IncompatibleComponentError, missing_extra
from zoo.registry.quiet_import import PRINTS_TO_STDERR

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

CATALOG_FILE = "registry.yaml"
"""The file that a package named in the group `zoo.catalogs` holds."""

DISABLE = "ZOO_DISABLE_PLUGINS"
"""Environment variable: what is switched off, as distributions, names or `distribution:name` between commas."""

OURS = "has8-zoo"
"""The distribution of the built-in components."""

NOTEBOOK = "(registered here)"
"""The distribution shown for components that `zoo.register` added in this process."""

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

NAME = re.compile(r"[a-z][a-z0-9]*")
NAME_RULE = "is not a component name: lower-case letters and digits, a letter first, no underscore"

_PLAIN_NAME = re.compile(r"[a-z][a-z0-9-]*")
_PLAIN_NAME_RULE = "is not a name of a command or a model of energy: lower-case letters, digits and hyphens"


def name_problem(kind: str, name: str) -> str | None:
    """The reason why a component of a kind cannot have a name; None if it can."""
    if kind == "catalog":
        return None
    if kind in ("command", "energy_model"):  # never part of a model's name
        if not _PLAIN_NAME.fullmatch(name):
            return f"{name!r} {_PLAIN_NAME_RULE}"
        return f"`zoo {name}` is the zoo's own" if kind == "command" and name in OWN_COMMANDS else None
    return None if NAME.fullmatch(name) else f"{name!r} {NAME_RULE}"


class State(StrEnum):
    """What is known of a component."""

    AVAILABLE = "available"
    LOADED = "loaded"
    BROKEN = "broken"
    INCOMPATIBLE = "incompatible"
    CONFLICT = "conflict"
    DISABLED = "disabled"
    REFUSED = "refused"
    INCOMPLETE = "incomplete"


UNUSABLE = (State.BROKEN, State.INCOMPATIBLE, State.DISABLED, State.REFUSED)


def _contract(kind: str) -> type[Any]:
    from zoo import contracts

    # By name: only the family's contract comes without torch.
    contract: type[Any] = getattr(contracts, kind.title().replace("_", ""))
    return contract


_CONSTRUCTED_WITH = {
    "encoder": (),
    "decoder": (),
    "neuron": (),
    "backbone": ("base", "mult", "depth", "in_chans"),
    "energy_model": ("network",),
}
"""The arguments of a component's constructor, where a contract says which."""


def _traceback(error: BaseException) -> str:
    """The traceback, whose last line says by itself what happened; of a syntax error with file and line."""
    text = "".join(traceback.format_exception(error)).rstrip()
    summary = " ".join("".join(traceback.format_exception_only(error)).split())
    if isinstance(error, SyntaxError) and error.filename:
        summary = f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    return text if text.splitlines()[-1] == summary else f"{text}\n{summary}"


@final
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
        """The component's class, imported and checked once; a catalog's file, a command's typer app.

        Raises:
            BrokenComponentError: the import failed, it is not such a component, or it is switched off.
            IncompatibleComponentError: it was written for another API version.
            KeyboardInterrupt: it was interrupted, by the user or by itself; a note says what was being imported.
        """
        if self._loaded is not None:
            return self._loaded
        if self.state in UNUSABLE:
            raise self._failure()
        try:
            with PRINTS_TO_STDERR:
                target = self._import()
            problem = None if self.kind == "catalog" else self._problem(target)  # a file is validated where it is read
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(f"while importing {self.kind} {self.name!r} of {self.origin}; {DISABLE} switches it off")
            raise
        except BaseException as error:  # whatever else a plugin does at import is its own defect, shown on use
            problem = _traceback(error), State.BROKEN
        if self._loaded is not None:  # another thread was first, or the plugin's own module, which needed it at import
            return self._loaded
        if problem is not None:
            self.fail(*problem)
            raise self._failure()
        self._loaded, self.state = target, State.LOADED
        return target

    def lacking(self) -> str | None:
        """What has to be installed before it can be used; nothing is imported to know it."""
        if self.distribution != OURS or (self.kind, self.name) not in EXTRAS:
            return None
        module, extra = EXTRAS[self.kind, self.name]
        if importlib.util.find_spec(module) is not None:
            return None
        return str(missing_extra(ModuleNotFoundError(name=module), f"the {self.kind} {self.name}", extra))

    def fail(self, reason: str, state: State = State.BROKEN) -> None:
        """Keep why it cannot be used."""
        self.error, self.state, self._loaded = reason, state, None

    def _failure(self) -> ComponentError:
        kind = IncompatibleComponentError if self.state is State.INCOMPATIBLE else BrokenComponentError
        return kind(f"{self.kind} {self.name!r} of {self.origin} cannot be used: {self.error}")

    def _problem(self, cls: Any) -> tuple[str, State] | None:
        """Why what was imported is not such a component, if so, and what that makes of it."""
        from zoo.contracts import API_VERSION

        if self.kind == "command":
            import typer

            return None if isinstance(cls, typer.Typer) else (f"{self.target} is not a typer.Typer", State.BROKEN)

        contract = _contract(self.kind)
        if not (inspect.isclass(cls) and issubclass(cls, contract)):
            return f"{self.target} is not a subclass of zoo.contracts.{contract.__name__}", State.BROKEN
        version = getattr(cls, "api_version", None)
        if version != API_VERSION:
            request = "declares no api_version" if version is None else f"asks for API version {version!r}"
            advice = f"set `api_version = {API_VERSION}` in the class, or install matching versions"
            return f"{self.target} {request}, this zoo offers {API_VERSION}; {advice}", State.INCOMPATIBLE
        if inspect.isabstract(cls):
            missing = ", ".join(sorted(cls.__abstractmethods__))  # type: ignore[attr-defined]
            return f"{self.target} leaves abstract: {missing}", State.BROKEN
        declared = {name for base in cls.__mro__ for name in vars(base)}
        lacking = sorted(name for name in inspect.get_annotations(contract) if name not in declared)
        if lacking and self.kind in ("encoder", "decoder", "energy_model"):
            return f"{self.target} lacks the class attributes {', '.join(lacking)}", State.BROKEN
        return self._construction_problem(cls)

    def _construction_problem(self, cls: type[Any]) -> tuple[str, State] | None:
        """What is wrong where its constructor does not take what the zoo gives it."""
        names = _CONSTRUCTED_WITH.get(self.kind)
        if names is None:
            return None
        try:
            signature = inspect.signature(cls)
        except (ValueError, TypeError):  # written in C, without a signature; building it will tell
            return None
        try:
            signature.bind(*names)
        except TypeError as error:
            arguments = f"the arguments {', '.join(names)}" if names else "no argument"
            advice = "give every further argument a default" if "missing" in str(error) else "let it take these"
            reason = f"the zoo constructs every {self.kind} with {arguments}; {advice}"
            return f"{self.target} cannot be constructed: {error}. {reason}", State.BROKEN
        return None
