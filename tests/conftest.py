"""Fixtures that several test files share."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import settings

from zoo.registry import Registry, default_registry

settings.register_profile("zoo", deadline=None)  # a busy machine is not a failure
settings.load_profile("zoo")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small operations gain nothing from two, and beside another busy process they wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def registry() -> Registry:
    """A registry of its own for every test, holding what is installed."""
    return Registry(replace(component) for component in default_registry().components())
