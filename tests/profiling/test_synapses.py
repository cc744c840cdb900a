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

from zoo.contracts import SynapticLayer
from zoo.profiling.recorder import Recorder

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


def seen(module: nn.Module, *inputs: Tensor) -> SynapticLayer:
    recorder = Recorder(module)
    for x in inputs:
        with recorder.watching(max(1, len(x))):
            module(x)
    (counted,) = recorder.counts(1).synapses
    return counted


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
        counted = seen(nn.Linear(2, 3), *inputs)
        assert (counted.operation, counted.counted, counted.dense, counted.used) == ("MAC", 12, 12, 9)


@pytest.mark.parametrize(
    ("values", "operation", "levels", "bits"),
    [
        ([0, 1], "AC", 1, 1),
        ([0, 0], "AC", 1, 0),
        ([0, 0.25], "MAC", None, None),
        ([1, 3], "MAC", 3, 3),
        ([-1, 1], "AC", 1, 2),
        ([-3, 0], "MAC", 3, 2),
        ([0, 256], "MAC", None, None),
    ],
)
def test_a_layer_is_charged_for_the_values_that_came_in(
    values: list[float], operation: str, levels: int | None, bits: int | None
) -> None:
    counted = seen(nn.Linear(2, 1), torch.tensor([values], dtype=torch.float32))
    assert (counted.operation, counted.levels, counted.bits) == (operation, levels, bits)
    assert counted.total == (None if levels is None else sum(map(abs, values)))


def products_by_loops(one: Tensor, other: Tensor) -> int:
    """Pairs of two activations that are both not 0, one by one."""
    return sum(
        bool(one[b, i, k] and other[b, k, j])
        for b in range(len(one))
        for i in range(one.shape[1])
        for k in range(one.shape[2])
        for j in range(other.shape[2])
    )


class Attention(nn.Module):
    """Two products of activations, as in a spiking transformer, by one of the ways to write them."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (x[:, place] for place in range(3))
        if self.way == "einsum":
            return torch.einsum("nij,njk->nik", torch.einsum("nid,njd->nij", q, k), v)
        if self.way == "sdpa":
            return functional.scaled_dot_product_attention(q, k, v)
        return (q @ k.transpose(1, 2)) @ v


@pytest.mark.parametrize("way", ["matmul", "einsum", "sdpa"])
def test_products_of_two_activations_are_pairs_of_both_not_0(way: str) -> None:
    torch.manual_seed(0)
    x, module = (torch.rand(2, 3, 4, 5) < 0.4).float(), Attention(way)
    recorder = Recorder(module)
    with recorder.watching(2):
        module(x)
    first, second = recorder.counts(2).synapses
    q, k, v = x.unbind(1)
    weights = (q @ k.transpose(1, 2)) if way != "sdpa" else torch.ones(2, 4, 4)
    assert first.used == products_by_loops(q, k.transpose(1, 2))
    assert second.used == products_by_loops(weights, v)
    assert (first.dense, second.dense) == (2 * 4 * 5 * 4, 2 * 4 * 4 * 5)
    assert second.operation == "AC"
    assert not recorder.counts(2).uncounted


def convolved_by_loops(x: Tensor, conv: nn.Conv1d | nn.ConvTranspose1d) -> int:
    """Pairs of a nonzero input and a weight of a (transposed) convolution in one dimension, one by one."""
    total, length = 0, conv(x).shape[-1]
    outputs = conv.out_channels // conv.groups
    for place in x.nonzero()[:, 2].tolist():
        for tap in range(conv.kernel_size[0]):
            if isinstance(conv, nn.ConvTranspose1d):
                hits = 0 <= place * conv.stride[0] - conv.padding[0] + tap < length
            else:
                start = place + conv.padding[0] - tap
                hits = start % conv.stride[0] == 0 and 0 <= start // conv.stride[0] < length
            total += hits * outputs
    return total


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_and_grouped_convolutions_by_loops(kind: Any, groups: int) -> None:
    torch.manual_seed(0)
    conv, x = kind(2, 4, 3, stride=2, padding=1, groups=groups), (torch.rand(2, 2, 7) < 0.5).float()
    assert seen(conv, x).used == convolved_by_loops(x, conv)


def test_the_same_spikes_in_other_codes() -> None:
    spikes = torch.tensor([[[1, 1, 0]], [[1, 1, 0]], [[1, 0, 1]]], dtype=torch.float32)  # T = 3, N = 1: 3, 2, 1
    linear = nn.Linear(3, 10)
    recorder, multi = Recorder(linear), Recorder(linear)
    with recorder.watching(1):
        for x in spikes:
            linear(x)
    codes = recorder.counts(1).synapses[0].codes
    assert codes is not None
    assert (codes.timesteps, codes.most) == (recorder.timesteps, 3)
    assert (codes.unary, codes.digits, codes.events) == (60, 40, 30)
    with multi.watching(1):
        linear(spikes)
    assert multi.counts(1).synapses[0].codes == codes
