"""Errors and warnings of the zoo, and checks of arguments.

Each message names the input, the valid range and the next step. An argument of the call stands in backticks, such as
`force=True`; the command line writes it as the option that sets it.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class ZooError(Exception):
    """Base of all errors that the zoo raises on purpose."""


class ModelNameError(ZooError, ValueError):
    """A model name, its tag, or a reference such as `hf-hub:org/name@revision` is not valid."""


class UnknownComponentError(ModelNameError):
    """A well-formed name asks for a component that no installed package offers.

    Attributes:
        kind, component: kind and name of that component, if a part of a model's name asks for it.
    """

    def __init__(self, message: str, *, kind: str = "", component: str = "") -> None:
        super().__init__(message)
        self.kind, self.component = kind, component


class MissingPluginError(UnknownComponentError):
    """A model, or what is stored of one, needs a package that is not installed."""


class CompositionError(ZooError, ValueError):
    """Components that exist do not fit together (timesteps, plane order, channels, depth)."""


class OptionError(ZooError, TypeError):
    """`create_model` was given an option that the model does not have."""


class InputError(ZooError, ValueError):
    """A tensor, image or file given to a model cannot be used."""


class ComponentError(ZooError, ValueError):
    """A component cannot be used: broken, of another API version, or claimed by several packages."""


class CatalogError(ZooError, ValueError):
    """registry.yaml does not follow its schema."""


class WeightError(ZooError):
    """A weight file is missing, altered, or does not fit its model."""


class HubError(ZooError):
    """The Hugging Face Hub cannot be reached, or refuses."""


class SaveError(ZooError, ValueError):
    """A network cannot be saved or published."""


class MemoryLimitError(ZooError, MemoryError):
    """A call needs more memory than there is; the message says how to need less."""


class CountingError(ZooError):
    """Operations cannot be counted: with this torch, or of a module that raises or keeps state."""


class TrainingError(ZooError):
    """A training run cannot go on."""


class TrainingStoppedError(TrainingError):
    """A training run used up the time that it was given; what it did is saved."""


class DivergenceError(TrainingError):
    """Loss or gradients of a training run are not finite, or have grown out of bounds."""


class MissingExtraError(ZooError, ModuleNotFoundError):
    """A call needs an optional package; the message says what to `pip install`."""


class ZooWarning(UserWarning):
    """Base of all warnings of the zoo: the call succeeds, but may not do what was meant."""


class UnpinnedWarning(ZooWarning):
    """A repository was named without a commit: what it holds may change."""


class UnfinishedWarning(ZooWarning):
    """A run is unfinished: what loads is its network after the last whole epoch."""


class NewHeadWarning(ZooWarning):
    """A checkpoint is of another number of classes: the last layer is random, not loaded."""


# Checks of arguments --------------------------------------------------------------------------------------------------


def check_count(what: str, value: Any, lowest: int, highest: int) -> int:
    """Return `value` as an integer in range; raises `OptionError` (no integer) or `CompositionError` (out of range)."""
    try:
        count = operator.index(value)
    except TypeError:
        count = None
    if count is None or isinstance(value, bool):
        raise OptionError(f"{what} must be an integer from {lowest} to {highest}, not {value!r}")
    if not lowest <= count <= highest:
        raise CompositionError(f"{what}={count} is out of range; valid: {lowest} to {highest}")
    return count


def check_number(what: str, value: float, *, above: float = -math.inf, below: float = math.inf) -> float:
    """Return `value` as a finite number; raises `OptionError` (no number) or `CompositionError` (out of bounds)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise OptionError(f"{what} must be a number, not {value!r}")
    if not (math.isfinite(value) and above < value < below):
        bounds = []
        if above > -math.inf:
            bounds.append(f"above {above:g}")
        if below < math.inf:
            bounds.append(f"below {below:g}")
        raise CompositionError(f"{what}={value:g} is out of range; valid: finite numbers {' and '.join(bounds)}")
    return float(value)


def check_flag(what: str, value: bool) -> bool:
    """Return `value` if it is True or False; raises `OptionError`."""
    if not isinstance(value, bool):
        raise OptionError(f"{what} must be True or False, not {value!r}")
    return value


def check_target(out: Path, suffix: str, force: bool) -> None:
    """Raise `InputError` if a file cannot or must not be written there; `force` lets it replace another one."""
    name = printable(str(out))
    with writing_to(out):
        if out.suffix.lower() != suffix:
            raise InputError(f"{name!r} does not end with {suffix}; try {name}{suffix}")
        if out.exists() and not force:
            raise InputError(f"{name} exists already; `force=True` overwrites it, or choose another `out`")


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Raise `InputError` instead of an error of the file system."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{printable(str(out))} cannot be written: {error.strerror or error}") from error


def suggest(wanted: str, valid: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for a near miss, else all valid choices."""
    choices = sorted(set(valid))
    if close := difflib.get_close_matches(wanted[:100], choices, n=1):
        return f"; did you mean {close[0]!r}?"
    return "; valid: " + ", ".join(choices) if choices else ""


def shorten(text: str, limit: int = 60) -> str:
    """Return `repr(text)`, cut if it is longer than `limit` characters."""
    return repr(text) if len(text) <= limit else f"{text[: limit // 2]!r}…({len(text)} characters)"


_HARMLESS = frozenset("\u00a0\u202f\u3000\u200c\u200d")  # spaces of French and Chinese, joiners of Persian and emoji


def printable(text: str) -> str:
    """Escape what a terminal would obey: ESC becomes `\\x1b`, a line end `\\n`, a bidi override `\\u202e`.

    Labels, licences and file names are not trusted. Lone surrogates are escaped too, so that any stream takes the text.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in _HARMLESS else c.encode("unicode_escape").decode() for c in text)
