"""Synaptic operations, to the unit: against windows unfolded by torch, and against spikingjelly's counter."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import layer
from torch import Tensor, nn
from torch.nn import functional

from zoo.profiling.recorder import Synapses

SPIKES = torch.tensor(
    [
        [[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1], [1, 1, 0, 0, 0]],
        [[0, 0, 0, 0, 0], [0, 0, 1, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]],
    ],
    dtype=torch.float32,
)
"""(C, H, W) = (2, 4, 5)."""


def pairs(x: Tensor, conv: nn.Conv2d) -> int:
    """Nonzero inputs (N, C, H, W) of all windows, each of which meets the outputs of its group."""
    window: Any = (conv.kernel_size, conv.dilation, conv.padding, conv.stride)
    return int(functional.unfold((x != 0).float(), *window).sum()) * (conv.out_channels // conv.groups)


def seen(module: nn.Module, *inputs: Tensor, branch: Any = "analog") -> Synapses:
    synapses = Synapses(branch)
    for x in inputs:
        synapses.add(module, x, module(x))
    return synapses


def test_three_spikes_in_corner_edge_and_middle() -> None:
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 0, 0] = x[0, 0, 0, 2] = x[0, 0, 2, 2] = 1
    counted = seen(nn.Conv2d(1, 10, 3, padding=1), x)
    assert (counted.used, counted.nonzero, counted.outputs, counted.dense) == (10 * (4 + 6 + 9), 3, 250, 250 * 9)


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    groups=st.sampled_from((1, 2)),
    rate=st.sampled_from((0.0, 0.4, 1.0)),
)
@settings(max_examples=60)
def test_a_convolution_meets_the_nonzeros_of_every_window(
    size: tuple, kernel: tuple, stride: tuple, padding: tuple, dilation: tuple, groups: int, rate: float
) -> None:
    assume(all(s + 2 * p > d * (k - 1) for s, p, d, k in zip(size, padding, dilation, kernel, strict=True)))
    conv = nn.Conv2d(2, 4, kernel, stride, padding, dilation, groups)
    x = torch.randn(2, 2, *size) * (torch.rand(2, 2, *size) < rate)
    counted = seen(conv, x)
    assert counted.used == pairs(x, conv)
    assert counted.dense == conv(x).numel() * prod(kernel) * 2 // groups


def test_time_and_batch_are_both_counted_in_one_or_three_dimensions_too() -> None:
    spikes = (torch.rand(3, 2, 4, 6, 6) < 0.3).float()
    spiking = layer.Conv2d(4, 5, 3, padding=1, step_mode="m")
    assert seen(spiking, spikes).used == pairs(spikes.flatten(0, 1), spiking)
    line, flat = nn.Conv1d(2, 3, 3, 2, 1), nn.Conv2d(2, 3, (1, 3), (1, 2), (0, 1))
    x = (torch.rand(2, 2, 7) < 0.5).float()
    assert seen(line, x).used == pairs(x[:, :, None], flat)
    y = (torch.rand(1, 2, 3, 3, 3) < 0.5).float()
    expected = functional.conv3d(y, torch.ones(3, 2, 3, 3, 3), padding=1).sum()
    assert seen(nn.Conv3d(2, 3, 3, padding=1), y).used == int(expected)


def test_batches_add_up_and_an_empty_one_changes_nothing() -> None:
    conv = nn.Conv2d(2, 3, 3, padding=1)
    x = torch.stack([SPIKES * k for k in range(4)])
    assert seen(conv, x) == seen(conv, x[:1], x[1:], x[:0])


def test_one_value_that_is_no_spike_makes_it_a_mac_layer_for_ever() -> None:
    spikes, double = torch.ones(1, 2), torch.tensor([[2.0, 0.0]])
    for inputs in ((spikes, double), (double, spikes)):
        for branch in ("analog", "spiking"):
            counted = seen(nn.Linear(2, 3), *inputs, branch=branch).to_layer("fc")
            assert (counted.operation, counted.counted, counted.dense, counted.used) == ("MAC", 12, 12, 9)


@pytest.mark.parametrize(
    ("values", "branch", "operation", "reason"),
    [
        ([0, 1], "spiking", "AC", "0 or 1"),
        ([1, 1], "analog", "AC", "0 or 1"),
        ([0, 0], "analog", "AC", "is 0"),
        ([0, 0.25], "spiking", "MAC", "from 0 to 0.25"),
        ([0, 0.25], "analog", "MAC", "analog branch"),
        ([1, 3], "spiking", "MAC", "from 1 to 3"),
        ([-1, 1], "spiking", "MAC", "from -1 to 1"),
        ([-1, 0], "spiking", "MAC", "from -1 to 0"),
    ],
)
def test_the_reason_names_what_was_seen(values: list, branch: str, operation: str, reason: str) -> None:
    counted = seen(nn.Linear(2, 1), torch.tensor([values], dtype=torch.float32), branch=branch).to_layer("fc")
    assert counted.operation == operation
    assert reason in counted.reason
