"""What a spiking branch keeps as bytes: exactly what torch would have kept, in less memory."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from allocations import kept_memory
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

import zoo
from zoo.backbones.layers import spiking_conv
from zoo.families.paired import PairedBlock
from zoo.kept_for_backward import _PART, exact_bytes, saving_bytes

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
NAMES = (
    "has8_resnet_b4_m2_d3_ste_bpd",
    "has8_resnet_b4_m2_d2_fourier_rate_plif",
    "has8_vgg_b2_m2_d2_tanh_bpd_if",
    "snn_resnet_b4_m2_d2_ste_bpd",
)


def spikes(*shape: int, dtype: torch.dtype = torch.float32, order: torch.memory_format | None = None) -> Tensor:
    made = (torch.rand(shape) < 0.3).to(dtype)
    return made if order is None else made.contiguous(memory_format=order)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_spikes_become_bytes_in_the_same_order_in_memory(dtype: torch.dtype, order: torch.memory_format) -> None:
    x = spikes(5, 7, 9, 11, dtype=dtype, order=order)
    small = exact_bytes(x)
    assert small is not None
    assert small.dtype is torch.int8
    assert small.stride() == x.stride()
    assert torch.equal(small.to(dtype), x)


@pytest.mark.parametrize("value", [-128.0, -1.0, 0.0, 1.0, 2.0, 127.0])
@pytest.mark.parametrize("at", [0, _PART - 1, _PART, 2 * _PART + 5])
def test_whole_numbers_of_a_byte_are_kept_wherever_they_stand(value: float, at: int) -> None:
    x = torch.zeros(2 * _PART + 6)
    x[at] = value
    small = exact_bytes(x)
    assert small is not None
    assert small[at] == value


@pytest.mark.parametrize("value", [-0.0, 0.5, 1 + 2**-23, 1e-45, -129.0, 128.0, 257.0, 3e9, float("inf"), float("nan")])
@pytest.mark.parametrize("at", [0, _PART, 2 * _PART + 5])
def test_one_other_value_anywhere_keeps_the_tensor_as_it_is(value: float, at: int) -> None:
    x = torch.zeros(2 * _PART + 6)
    x[at] = value
    assert exact_bytes(x) is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("start", [0, 1, 3, 64])
@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 200])
def test_parts_of_any_start_and_length(dtype: torch.dtype, start: int, size: int) -> None:
    x = spikes(300, dtype=dtype)[start : start + size]
    small = exact_bytes(x)
    assert small is not None
    assert torch.equal(small.to(dtype), x)
    for at in {0, size // 2, size - 1}:
        other = spikes(300, dtype=dtype)
        other[start + at] = 0.5
        assert exact_bytes(other[start : start + size]) is None


def test_a_part_of_another_tensor_is_left() -> None:
    assert exact_bytes(spikes(8, 8, 8, 8)[:, ::2]) is None
    assert exact_bytes(spikes(8, 1, 8, 8).expand(8, 8, 8, 8)) is None


@given(st.lists(st.integers(1, 6), min_size=0, max_size=5), st.randoms(use_true_random=False))
def test_any_shape_in_any_order(shape: list[int], chosen: Any) -> None:
    order = list(range(len(shape)))
    chosen.shuffle(order)
    x = spikes(*shape).permute(order)
    small = exact_bytes(x)
    assert small is not None
    assert torch.equal(small.float(), x)


def gradients(model: nn.Module, x: Tensor, whole: bool, autocast: bool) -> list[Tensor]:
    """Of all parameters and of x, kept in bytes or as torch keeps them."""
    for block in (each for each in model.modules() if isinstance(each, PairedBlock)):
        block.saves_bytes = not whole
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = functional.cross_entropy(model(x).float(), torch.tensor([0, 1, 2, 0]))
    return list(torch.autograd.grad(loss, [x, *model.parameters()]))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_the_same_bit_for_bit(name: str, autocast: bool) -> None:
    model = zoo.create_model(name, num_classes=3).train()
    for x in (torch.rand(4, 3, 32, 32), torch.zeros(4, 3, 32, 32), torch.randn(4, 3, 32, 32) * 1e3):
        for own, torchs in zip(*(gradients(model, x, whole, autocast) for whole in (False, True)), strict=True):
            assert torch.equal(own, torchs)


@pytest.mark.parametrize("neuron", ["lif", "if"])
def test_a_convolution_keeps_its_spikes_in_a_quarter(neuron: str) -> None:
    x, layer = spikes(8, 4, 16, 8, 8), spiking_conv(16, 4, 3)
    outputs = 8 * 4 * 4 * 8 * 8 * 4
    inputs = x.numel() * 4
    for context, kept in ((nullcontext(), inputs), (saving_bytes(x), inputs // 4)):
        with context:
            memory = kept_memory(lambda: layer(x.clone()), layer.weight)
        assert memory == outputs + kept


def test_what_two_layers_keep_is_kept_once() -> None:
    x, layers = spikes(8, 4, 16, 8, 8), [spiking_conv(16, 4, 3) for _ in range(2)]
    outputs = 2 * 8 * 4 * 4 * 8 * 8 * 4

    def both() -> list[Tensor]:
        planes = x.clone()
        with saving_bytes(planes):
            return [layer(planes) for layer in layers]

    assert kept_memory(both, *(layer.weight for layer in layers)) == outputs + x.numel()


def test_spikes_in_the_memory_of_others_that_are_gone_are_their_own() -> None:
    weight = torch.rand(8, 3, requires_grad=True)
    first, second = spikes(1024, 8), spikes(1024, 8)
    with saving_bytes(first):
        outputs = []
        for values in (first, second):
            x = values.clone()  # the second lies where the first lay, or it does not
            outputs.append(x @ weight)
            del x
    for y, values in zip(outputs, (first, second), strict=True):
        (found,) = torch.autograd.grad(y.sum(), weight)
        assert torch.equal(found, values.sum(0)[:, None].expand(8, 3))


def test_a_second_backward_pass_finds_the_same() -> None:
    model = zoo.create_model(NAMES[0], num_classes=3).train()
    loss = model(torch.rand(2, 3, 32, 32)).square().sum()
    first, second = (torch.autograd.grad(loss, list(model.parameters()), retain_graph=True) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def test_gradients_of_gradients_are_the_same() -> None:
    found = []
    for whole in (False, True):
        torch.manual_seed(0)
        convolution = spiking_conv(16, 4, 3)
        x = spikes(2, 4, 16, 8, 8).requires_grad_()
        with nullcontext() if whole else saving_bytes(x):
            y = convolution(x)
        (once,) = torch.autograd.grad(y.square().sum(), convolution.weight, create_graph=True)
        found.append(torch.autograd.grad(once.square().sum(), [x, convolution.weight]))
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_a_tensor_changed_after_its_use_is_an_error_as_it_is_in_torch() -> None:
    x, weight = torch.rand(64, 128), torch.rand(128, 4, requires_grad=True)
    with saving_bytes(x):
        y = x @ weight
    x.add_(1)
    with pytest.raises(RuntimeError, match="changed in place after it was used"):
        y.sum().backward()
