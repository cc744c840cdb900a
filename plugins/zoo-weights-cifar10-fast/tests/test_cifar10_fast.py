"""Every weight of this distribution loads by its name, without a network, and its figures are those of the model."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from zoo_kit import WeightTests

import zoo


class TestWeights(WeightTests):
    name = "cifar10fast"


@pytest.mark.parametrize(
    ("base", "count"),
    [
        (15, 20),
        pytest.param(15, 1000, marks=pytest.mark.slow),
        pytest.param(64, 100, marks=pytest.mark.slow),
    ],
)
def test_digits_answer_as_the_integers_whose_tensors_they_read(base: int, count: int) -> None:
    """In float64: in float32 rounding moves a current over the border of a level now and then."""
    digits = zoo.create_model(f"sew_fast_b{base}_m4_d3_direct_radix.cifar10levels4").eval().double()
    integers = zoo.create_model(f"ann_fast_b{base}_m4_d3.cifar10levels4").eval().double()
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        for images in nn.functional.interpolate(coarse, size=32, mode="bilinear").split(50):
            torch.testing.assert_close(digits(images), integers(images), atol=1e-9, rtol=1e-9)
