"""A pytest plugin for the process that runs timm's own tests: while they are collected, timm lists our models alone.

It is loaded with `-p` before the tests are collected, for they ask timm for its lists when they are imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import timm
import torch
from timm.models import get_arch_name

import zoo.timm

MODELS = "TIMM_CONTRACT_MODELS"
_names = set(zoo.timm.register_models(*os.environ[MODELS].split()))
_whole = timm.list_models, timm.list_pretrained


def _narrowed(found_by: Callable[..., list[str]]) -> Callable[..., list[str]]:
    def narrowed(filter: Any = "", module: Any = "", **options: Any) -> list[str]:
        # Those of timm's tests that choose by module mean its modules with forward_intermediates; ours has it.
        ours = {"module": "has8_zoo"} if module else {}
        return [name for name in found_by(filter, **ours, **options) if get_arch_name(name) in _names]

    return narrowed


timm.list_models, timm.list_pretrained = map(_narrowed, _whole)


def pytest_collection_finish() -> None:
    timm.list_models, timm.list_pretrained = _whole  # the zoo itself asks too


def pytest_runtest_setup() -> None:
    torch.manual_seed(0)
