"""The conformance kit on both components, and what is particular to Gray code."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from zoo_gray import GrayDecoder, GrayEncoder, decoder_slopes, gray_decode
from zoo_kit import DecoderTests, EncoderTests

import zoo
from zoo.errors import CompositionError


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class TestGrayEncoder(EncoderTests):
    """Every check of the kit, with what it cannot know: the decoder that inverts it."""

    name = "gray"
    decoder = "gray"


class TestGrayDecoder(DecoderTests):
    name = "gray"
    encoder = "gray"


def levels() -> Tensor:
    return (torch.arange(256) / 255)[None]


def test_neighbouring_levels_differ_in_one_plane() -> None:
    planes = GrayEncoder()(levels())
    assert torch.equal((planes[..., 1:] - planes[..., :-1]).abs().sum(0), torch.ones(1, 255))


def test_planes_and_gradient_are_those_of_a_slow_way() -> None:
    x = levels().double().requires_grad_()
    numbers = np.rint(x.detach().numpy() * 255).astype(np.uint8)
    bits = np.unpackbits((numbers ^ (numbers >> 1))[..., None], axis=-1, bitorder="little")
    expected = torch.from_numpy(np.moveaxis(bits, -1, 0)).to(x.dtype).requires_grad_()
    planes = GrayEncoder()(x)
    assert torch.equal(planes, expected)
    grad = torch.randn(planes.shape, dtype=x.dtype)
    (slopes,) = torch.autograd.grad(gray_decode(expected).sum(), expected)
    planes.backward(grad)
    torch.testing.assert_close(x.grad, (grad * slopes).sum(0) / slopes.square().sum(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_decoding_is_exact(dtype: torch.dtype) -> None:
    planes = GrayEncoder()(levels()).to(dtype)
    assert torch.equal(GrayDecoder()(planes), torch.arange(256, dtype=dtype)[None] / 255)


def test_decoding_after_encoding_has_slope_one() -> None:
    x = torch.rand(2, 3, 5, 5, requires_grad=True)
    (grad,) = torch.autograd.grad(GrayDecoder()(GrayEncoder()(x)).sum(), x)
    torch.testing.assert_close(grad, torch.ones_like(x))


def test_the_closed_form_is_the_decoders_slope() -> None:
    planes = GrayEncoder()(levels()).requires_grad_()
    (expected,) = torch.autograd.grad(gray_decode(planes).sum(), planes)
    torch.testing.assert_close(decoder_slopes(planes.detach()), 255 * expected)
    assert decoder_slopes(planes.detach()).abs().min() >= 1


def test_counts_of_spikes_are_read_by_their_parity() -> None:
    planes = GrayEncoder()(torch.rand(2, 3, 4))
    assert torch.equal(gray_decode(planes + 2 * torch.randint(0, 3, planes.shape)), gray_decode(planes))
    counts = 3 * torch.rand(8, 2, 3, 4)
    assert 0 <= gray_decode(counts).min() <= gray_decode(counts).max() <= 1


def test_other_decoders_of_planes_refuse_it() -> None:
    with pytest.raises(CompositionError, match="reads the code binary-lsb-first, but GrayEncoder emits gray-lsb-first"):
        zoo.create_model("has8_resnet_b4_m2_d2_gray_bpd")


def test_a_network_learns() -> None:
    model = zoo.create_model("has8_resnet_b4_m2_d2_gray_gray", num_classes=4).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    x, y = torch.rand(8, 3, 32, 32), torch.arange(8) % 4
    losses = []
    for _ in range(12):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0], losses
