"""What networks keep for the backward pass: nothing without gradients, little where blocks are recomputed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

import zoo
from tests.allocations import kept_memory, saved
from zoo.contracts.classifier import ImageClassifier

NAMES = ("has8_resnet_b4_m2_d3_fourier_bpd", "has8_vgg_b2_m2_d2_ste_rate_plif", "snn_resnet_b4_m2_d3_tanh_bpd_lif")


def kept_bytes(model: ImageClassifier) -> int:
    """Bytes kept, but for parameters and statistics, which are there anyway."""
    return kept_memory(lambda: step(model), *model.parameters(), *model.buffers())


def step(model: ImageClassifier) -> torch.Tensor:
    return functional.cross_entropy(model(torch.rand(4, 3, 32, 32)), torch.tensor([0, 1, 2, 0]))


@pytest.mark.parametrize("name", [*NAMES, "sew_resnet18_phase"])
def test_without_gradients_nothing_is_kept(name: str) -> None:
    options: dict[str, Any] = {"timesteps": 2} if name.startswith("sew") else {}
    model = zoo.create_model(name, num_classes=3, **options)
    with torch.no_grad():
        assert saved(lambda: step(model)) == []
    model.requires_grad_(False)
    assert saved(lambda: step(model)) == []


@pytest.mark.parametrize("name", NAMES)
def test_recomputed_blocks_keep_nothing_of_what_is_inside_them(name: str) -> None:
    model = zoo.create_model(name, num_classes=3).train()
    whole = kept_bytes(model)
    model.set_grad_checkpointing()
    assert kept_bytes(model) < whole / 4
    model.set_grad_checkpointing(False)
    assert kept_bytes(model) == whole
