"""Whether the components of plugins can be imported and keep their contract, seen in processes that they may end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from zoo.registry import UNUSABLE, Component, State
from zoo.testing.component import checks_of, full_name
from zoo.testing.imports import TIMEOUT, run_probe
from zoo.testing.outcome import CheckResult, Outcome
from zoo.testing.runner import LOADS, SUITES, check_component

LIMIT = 30.0
"""Seconds that one import may take."""

_BEFORE = ("zoo.contracts.classifier",)  # with torch, which a plugin's own time does not count
_PROCESSES = 4


def probe_components(components: Sequence[Component], limit: float = LIMIT) -> None:
    """Set the state of components as loading each of them in another process finds it; none is imported here.

    One process loads all of them. Where that one ends or hangs, every distribution gets a process of its own, so that
    none answers for what another one left behind.

    Args:
        components: handles of classes that are not loaded yet.
        limit: seconds for each import.
    """
    owned = [list(group) for _, group in groupby(sorted(components, key=_owner), key=_owner)]
    if len(owned) > 1 and _load(components, limit) is None:
        return
    with ThreadPoolExecutor(min(_PROCESSES, os.cpu_count() or 1)) as pool:
        list(pool.map(lambda group: _load_one_by_one(group, limit), owned))


def check_elsewhere(component: Component, limit: float = TIMEOUT) -> list[CheckResult]:
    """The results of `check_component`, its checks run in another process; one that ends it, or hangs, has failed.

    Args:
        component: its handle; one that `probe_components` found unusable is not imported again.
        limit: seconds for each check.
    """
    if component.state in UNUSABLE:
        return check_component(component)  # which says why, and imports nothing
    address = (component.kind, component.name, component.distribution, component.target)
    probe = run_probe(limit, before=_BEFORE, components=[address], check=True)
    results = [CheckResult.from_json(result) for result in probe.results]
    if probe.problem is None:
        return results
    checks = (LOADS, *(check for check in checks_of(SUITES[component.kind]) if check != LOADS))
    check = checks[min(len(results), len(checks) - 1)]
    errors = f": {probe.stderr.strip()}" if probe.stderr.strip() else ""
    message = f"the check {probe.problem}{errors}; the checks behind it were not run"
    return [*results, CheckResult(component.kind, full_name(component), check, Outcome.FAILED, message)]


def _owner(component: Component) -> str:
    return component.distribution


def _load_one_by_one(components: Sequence[Component], limit: float) -> None:
    """Load what is left in a new process for as long as one of them ends it."""
    remaining = list(components)
    while remaining and (failed := _load(remaining, limit)) is not None:
        index, reason = failed
        remaining[index].fail(reason)
        remaining = remaining[index + 1 :]


def _load(components: Sequence[Component], limit: float) -> tuple[int, str] | None:
    """Load them in one process; the index of the one that ended it, and how. The states before it are set."""
    addresses = [(c.kind, c.name, c.distribution, c.target) for c in components]
    probe = run_probe(limit, before=_BEFORE, components=addresses)
    for index, answer in probe.answers.items():
        component, state = components[index], State(answer["state"])
        if state is State.LOADED:
            component.state, component.error = state, None
        else:
            component.fail(answer["error"], state)
    if len(probe.answers) == len(components):
        return None
    index = len(probe.answers) if probe.begun is None else probe.begun
    module = components[index].target.partition(":")[0]
    errors = f"{probe.stderr.strip()}\n" if probe.stderr.strip() else ""
    return index, f"{errors}importing {module} {probe.problem}"
