"""What a check is: it passes, or it raises with what the author should do. Nothing here needs pytest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import final
from unittest import SkipTest


class ConformanceError(AssertionError):
    """A component does not keep its contract; the message says what its author should do."""


class NotApplicable(SkipTest):
    """A check has no object, such as a round trip without a decoder; pytest shows it as skipped."""


class Outcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@final
@dataclass(frozen=True)
class CheckResult:
    """One check of one component.

    Attributes:
        kind: family, backbone, encoder, decoder or neuron.
        name: the component's, behind its distribution where it has one (`zoo-gray:gray`).
        check: what was checked, as the suite's method says it without `test_`.
        outcome: passed, failed or skipped.
        message: what the author should do, or why the check was skipped; empty where it passed.
    """

    kind: str
    name: str
    check: str
    outcome: Outcome
    message: str = ""

    def to_json(self) -> dict[str, str]:
        """One JSON object."""
        return {key: str(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: Mapping[str, str]) -> CheckResult:
        """What `to_json` gave."""
        given = dict(content)
        return cls(outcome=Outcome(given.pop("outcome")), **given)


def require(condition: bool, message: str) -> None:
    """Raise `ConformanceError` unless the condition holds."""
    __tracebackhide__ = True  # pytest shows the check, not this line
    if not condition:
        raise ConformanceError(message)


@contextmanager
def attempting(what: str) -> Iterator[None]:
    """Whatever is raised inside becomes a `ConformanceError` that says what was attempted."""
    __tracebackhide__ = True
    try:
        yield
    except (ConformanceError, NotApplicable):
        raise
    except (Exception, SystemExit) as error:  # a component may raise anything, and none of it is in its contract
        raise ConformanceError(f"{what} raises {type(error).__name__}: {error}") from error
