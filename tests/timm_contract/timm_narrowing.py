"""A pytest plugin for the process that runs timm's own tests: there timm's lists hold our models and no others.

It is loaded with `-p` before the tests are collected, for they ask timm for its lists when they are imported.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import get_arch_name
from timm_selection import LEFT_OUT, NOT_OURS  # type: ignore[import-not-found] # beside it on the path there

import zoo.timm

MODELS = "TIMM_CONTRACT_MODELS"
REPORT = "TIMM_CONTRACT_REPORT"

_names = set(zoo.timm.register_models(*os.environ[MODELS].split(",")))


def _narrowed(found_by: Callable[..., list[str]]) -> Callable[..., list[str]]:
    def narrowed(filter: Any = "", module: Any = "", **options: Any) -> list[str]:
        # Those of timm's tests that choose by module mean its modules with forward_intermediates; ours has it.
        ours = {"module": "has8_zoo"} if module else {}
        return [name for name in found_by(filter, **ours, **options) if get_arch_name(name) in _names]

    return narrowed


_whole = timm.list_models, timm.list_pretrained
timm.list_models, timm.list_pretrained = map(_narrowed, _whole)


def _model(item: pytest.Item) -> str | None:
    """Find which of our models a test is about; None for none."""
    call = getattr(item, "callspec", None)  # None without parameters
    name = call.params.get("model_name") if call else None
    return name if isinstance(name, str) and get_arch_name(name) in _names else None


def _function(item: pytest.Item) -> str:
    return item.originalname if isinstance(item, pytest.Function) else item.name


class _Report:
    """Records what became of every test."""

    def __init__(self) -> None:
        self.ran: dict[str, dict[str, str]] = {}
        self.left_out: dict[str, str] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        timm.list_models, timm.list_pretrained = _whole  # timm's tests have asked; the zoo itself asks too
        kept = []
        for item in items:
            reason = LEFT_OUT.get(_function(item)) or (None if _model(item) else NOT_OURS)
            if reason is None:
                kept.append(item)
            else:
                self.left_out[_function(item)] = reason
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept

    def pytest_runtest_setup(self) -> None:
        torch.manual_seed(0)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
        report = yield
        ran = self.ran.setdefault(_function(item), {})
        if report.when == "call" or not report.passed:
            outcome = "expected to fail" if hasattr(report, "wasxfail") else report.outcome
            ran[str(_model(item))] = outcome if report.passed else f"{outcome}: {report.longreprtext[-3000:]}"
        return report

    def pytest_sessionfinish(self) -> None:
        Path(os.environ[REPORT]).write_text(json.dumps({"ran": self.ran, "left_out": self.left_out}), encoding="utf-8")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_Report())
