"""Fixtures for a conftest.py: `from zoo_kit.fixtures import one_thread as one_thread`; importing one turns it on."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Small operations gain nothing from two, and beside another busy process they wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers."""
    torch.manual_seed(0)
