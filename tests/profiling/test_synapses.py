"""Synaptic operations, to the unit: against loops over every output and tap, and against spikingjelly's counter."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import layer
from spikingjelly.activation_based.op_counter import DispatchCounterMode, SynOpCounter
from torch import Tensor, nn
from torch.nn import functional

from zoo.profiling.activity import Synapses, axis_taps

SPIKES = torch.tensor(
    [
        [[1, 0, 0, 1, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1], [1, 1, 0, 0, 0]],
        [[0, 0, 0, 0, 0], [0, 0, 1, 1, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]],
    ],
    dtype=torch.float32,
)
"""(C, H, W) = (2, 4, 5)."""


def count_by_loops(x: Tensor, conv: nn.Conv2d) -> int:
    """Every output, every tap: is there an input under it, and is it no zero? x is (N, C, H, W), zero-padded."""
    assert not isinstance(conv.padding, str)
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = conv.kernel_size, conv.stride, conv.padding, conv.dilation
    n, c, height, width = x.shape
    outs, group_in, group_out = conv.out_channels, c // conv.groups, conv.out_channels // conv.groups
    rows, columns = (
        (s + 2 * p - d * (k - 1) - 1) // t + 1 for s, p, d, k, t in ((height, ph, dh, kh, sh), (width, pw, dw, kw, sw))
    )
    nonzero = (x != 0).tolist()
    count = 0
    for sample, out, row, column in itertools.product(range(n), range(outs), range(rows), range(columns)):
        for channel, i, j in itertools.product(range(group_in), range(kh), range(kw)):
            y, z = row * sh - ph + i * dh, column * sw - pw + j * dw
            if 0 <= y < height and 0 <= z < width:
                count += nonzero[sample][out // group_out * group_in + channel][y][z]
    return count


def seen(module: nn.Module, *inputs: Tensor) -> Synapses:
    synapses = Synapses()
    for x in inputs:
        synapses.add(module, x, module(x))
    return synapses


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 1},
        {"kernel_size": 3},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": (3, 2), "padding": (2, 1), "stride": (2, 3)},
        {"kernel_size": 2, "padding": 2, "dilation": (2, 3)},
        {"kernel_size": 3, "padding": 1, "groups": 2},
    ],
    ids=str,
)
def test_a_convolution_counted_by_hand(arguments: dict) -> None:
    conv = nn.Conv2d(2, 4, **arguments)
    x = torch.stack((SPIKES, SPIKES.flip(2)))
    synapses = seen(conv, x)
    assert synapses.used == count_by_loops(x, conv)
    assert synapses.operation == "AC"
    assert synapses.counted == synapses.used
    assert synapses.dense == conv(x).numel() * conv.weight[0].numel()


def test_three_spikes_in_corner_edge_and_middle() -> None:
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 0, 0] = x[0, 0, 0, 2] = x[0, 0, 2, 2] = 1
    assert seen(nn.Conv2d(1, 10, 3, padding=1), x).used == 10 * (4 + 6 + 9)
    assert axis_taps(5, 5, 3, 1, 1, 1).tolist() == [2, 3, 3, 3, 2]
    assert axis_taps(5, 2, 3, 2, 1, 0).tolist() == [1, 1, 2, 1, 1]


def test_a_linear_layer_counted_by_hand() -> None:
    x = torch.tensor([[1.0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]])
    synapses = seen(nn.Linear(4, 7), x)
    assert (synapses.used, synapses.dense, synapses.operation) == (4 * 7, 3 * 4 * 7, "AC")


def test_time_and_batch_are_both_counted_in_one_or_three_dimensions_too() -> None:
    spikes = (torch.rand(3, 2, 4, 6, 6) < 0.3).float()
    spiking = layer.Conv2d(4, 5, 3, padding=1, step_mode="m")
    assert seen(spiking, spikes).used == count_by_loops(spikes.flatten(0, 1), spiking)
    line = nn.Conv1d(2, 3, 3, stride=2, padding=1)
    flat = nn.Conv2d(2, 3, (1, 3), stride=(1, 2), padding=(0, 1))
    x = (torch.rand(2, 2, 7) < 0.5).float()
    assert seen(line, x).used == count_by_loops(x[:, :, None], flat)
    cube = nn.Conv3d(2, 3, 3, padding=1)
    y = (torch.rand(1, 2, 3, 3, 3) < 0.5).float()
    assert seen(cube, y).used == int(functional.conv3d(y, torch.ones(3, 2, 3, 3, 3), padding=1).sum())


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
def test_pairs_are_a_convolution_of_nonzeros_with_ones(
    size: tuple, kernel: tuple, stride: tuple, padding: tuple, dilation: tuple, groups: int, rate: float
) -> None:
    assume(all(s + 2 * p > d * (k - 1) for s, p, d, k in zip(size, padding, dilation, kernel, strict=True)))
    conv = nn.Conv2d(2, 4, kernel, stride, padding, dilation, groups)
    x = torch.randn(2, 2, *size) * (torch.rand(2, 2, *size) < rate)
    ones = torch.ones_like(conv.weight, dtype=torch.float64)
    expected = functional.conv2d((x != 0).double(), ones, None, stride, padding, dilation, groups).sum()
    assert seen(conv, x).used == int(expected)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular", "zeros"])
@pytest.mark.parametrize("padding", ["same", "valid", (1, 2)], ids=str)
def test_other_paddings(padding: str | tuple, mode: Any) -> None:
    conv = nn.Conv2d(2, 3, (2, 5), padding=padding, padding_mode=mode, bias=False)
    x = SPIKES[None]
    with torch.no_grad():
        conv.weight.fill_(1)
        assert seen(conv, x).used == int(conv(x).sum())


def test_spikingjellys_counter_agrees_where_inputs_are_spikes() -> None:
    network = nn.Sequential(
        layer.Conv2d(3, 8, 3, stride=2, padding=1, step_mode="m"), nn.Flatten(2), layer.Linear(128, 5, step_mode="m")
    )
    x = (torch.rand(4, 2, 3, 8, 8) < 0.2).float()
    flat = (torch.rand(4, 2, 128) < 0.2).float()
    for module, spikes in ((network[0], x), (network[2], flat)):
        counter = SynOpCounter()
        with torch.no_grad(), DispatchCounterMode([counter]):
            module(spikes)
        assert seen(module, spikes).used == counter.get_total() > 0


def test_batches_add_up() -> None:
    conv = nn.Conv2d(2, 3, 3, padding=1)
    x = torch.stack([SPIKES * k for k in range(4)])
    assert seen(conv, x) == seen(conv, x[:1], x[1:])


def test_one_value_that_is_no_spike_makes_it_a_mac_layer_for_ever() -> None:
    linear = nn.Linear(2, 3)
    spikes, double = torch.ones(1, 2), torch.tensor([[2.0, 0.0]])
    for inputs in ((spikes, double), (double, spikes)):
        synapses = seen(linear, *inputs)
        assert synapses.operation == "MAC"
        assert synapses.counted == synapses.dense == 12
        assert synapses.used == 9


@pytest.mark.parametrize(
    ("values", "branch", "reason"),
    [
        ([0, 1], "spiking", "every input is 0 or 1"),
        ([1, 1], "analog", "every input is 0 or 1"),
        ([0, 0], "analog", "every input is 0"),
        ([0.5, 0.2], "analog", "input is real: analog branch"),
        ([0, 3], "spiking", "input has other values than 0 and 1: sums of spikes up to 3"),
        ([0.25, 1], "spiking", "input has other values than 0 and 1: average-pooled spikes, multiples of 1/4"),
        ([1 / 9, 7 / 9], "spiking", "input has other values than 0 and 1: average-pooled spikes, multiples of 1/9"),
        ([0.123, 1], "spiking", "input is real: values from 0.123 to 1"),
        ([-1, 1], "spiking", "input is real: values from -1 to 1"),
    ],
)
def test_the_reason_names_what_was_seen(values: list, branch: str, reason: str) -> None:
    synapses = seen(nn.Linear(2, 1), torch.tensor([values], dtype=torch.float32))
    assert synapses.reason(branch) == reason


def test_an_empty_batch_changes_nothing() -> None:
    linear = nn.Linear(2, 3)
    assert seen(linear, torch.ones(1, 2)) == seen(linear, torch.ones(1, 2), torch.ones(0, 2))
