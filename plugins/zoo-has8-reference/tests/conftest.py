"""The golden vectors of the published code; data/README.md says what they are."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from zoo_kit.fixtures import one_thread as one_thread
from zoo_kit.fixtures import seeded as seeded

DATA = Path(__file__).parent / "data"


def _arrays(name: str) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(DATA / name) as file:
        return {key: np.array(file[key]) for key in file.files}


@pytest.fixture(scope="session")
def coding() -> dict[str, Tensor]:
    """Planes, gradients and decoded levels."""
    return {name: torch.from_numpy(values) for name, values in _arrays("coding.npz").items()}


@pytest.fixture(scope="session")
def resnet() -> dict[str, np.ndarray[Any, Any]]:
    """A whole ResNet: state, input, logits, loss, gradient norms."""
    return _arrays("resnet_b4_m2_d4_fourier_bpd.npz")


@pytest.fixture
def resnet_checkpoint(resnet: dict[str, np.ndarray[Any, Any]]) -> dict[str, Tensor]:
    """Its state dict under the published keys."""
    return {
        key.removeprefix("state/"): torch.from_numpy(values)
        for key, values in resnet.items()
        if key.startswith("state/")
    }


@pytest.fixture(scope="session")
def vgg() -> dict[str, Any]:
    """Keys and logits of a VGG whose values are given by formula."""
    content: dict[str, Any] = json.loads((DATA / "filled.json").read_text(encoding="utf-8"))
    fixture: dict[str, Any] = content["vgg_b2_m2_d4_fourier_bpd"]
    return fixture


@pytest.fixture
def vgg_checkpoint(vgg: dict[str, Any]) -> dict[str, Tensor]:
    """Its state dict under the published keys."""
    return {key: _filled(tuple(shape), i, key) for i, (key, shape, _) in enumerate(vgg["keys"])}


def _fraction(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values - np.trunc(values)


def _filled(shape: tuple[int, ...], index: int, key: str) -> Tensor:
    leaf = key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    u = _fraction(43758.5453 * np.sin(12.9898 * np.arange(math.prod(shape)) + 78.233 * index)).reshape(shape)
    if leaf == "running_var":
        u = 1 + 0.5 * np.abs(u)
    elif leaf == "running_mean":
        u = 0.2 * u
    elif len(shape) == 1:
        u = 1 + 0.1 * u if leaf == "weight" else 0.1 * u
    else:
        u = u * math.sqrt(3 / math.prod(shape[1:]))
    return torch.from_numpy(np.asarray(u)).float()


def filled_images(size: int) -> Tensor:
    """Two images (2, 3, size, size) by formula."""
    values = np.abs(_fraction(9973.17 * np.sin(0.7331 * np.arange(6 * size * size))))
    return torch.from_numpy(values.reshape(2, 3, size, size)).float()
