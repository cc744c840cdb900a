"""Fixtures that several test files share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import Tensor
from zoo_kit.fixtures import one_thread as one_thread
from zoo_kit.fixtures import seeded as seeded

from zoo.registry.components import Registry, default_registry

settings.register_profile("zoo", deadline=None)  # a busy machine is not a failure
settings.load_profile("zoo")


@pytest.fixture
def registry() -> Registry:
    """A registry of its own for every test, holding what is installed."""
    return Registry(replace(component) for component in default_registry().components())


@pytest.fixture(scope="session")
def coding() -> dict[str, Tensor]:
    """Planes and gradients that the published code computed."""
    with np.load(
        Path(__file__).parents[1] / "plugins" / "zoo-has8-reference" / "tests" / "data" / "coding.npz"
    ) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}
