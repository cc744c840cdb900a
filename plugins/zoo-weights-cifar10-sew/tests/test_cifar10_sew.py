"""Every weight of this distribution loads by its name, without a network, and its figures are those of the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo_export.onnx_file import export_onnx
from zoo_kit import WeightTests

import zoo
from zoo.profiling import twin_of
from zoo.weights.load import labels_of

SMALL, FULL = "sew_resnetsmall_b32_m2_d4_direct.cifar10", "sew_resnetfull_b32_m2_d4_direct.cifar10"
SMALL_DIGITS, FULL_DIGITS = (name.replace("direct", "direct_radix") for name in (SMALL, FULL))


class TestWeights(WeightTests):
    name = "cifar10sew"


def smooth_images(count: int) -> Tensor:
    """Images (N, 3, 32, 32) in [0, 1] whose neighbouring pixels are alike, as in photographs."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(coarse, size=32, mode="bilinear")


@pytest.mark.parametrize(("name", "count"), [(SMALL, 200), (FULL, 20)])
def test_onnxruntime_computes_what_torch_computes(name: str, count: int, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model, images = zoo.create_model(name).eval(), smooth_images(count)
    file = tmp_path / "spikes.onnx"
    export_onnx(model, file, image_size=32, batch=None)
    options = onnxruntime.SessionOptions()  # the last level convolves blocks of channels, which rounds otherwise
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    (logits,) = onnxruntime.InferenceSession(file, options).run(None, {"pixels": images.numpy()})
    with torch.no_grad():
        expected = model(images)
    torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *((SMALL, 20), (SMALL_DIGITS, 20)),
        pytest.param(SMALL, 1000, marks=pytest.mark.slow),
        pytest.param(FULL, 100, marks=pytest.mark.slow),
        pytest.param(SMALL_DIGITS, 1000, marks=pytest.mark.slow),
        pytest.param(FULL_DIGITS, 1000, marks=pytest.mark.slow),
    ],
)
def test_the_twin_gives_the_same_logits(name: str, count: int) -> None:
    """In float64: in float32 rounding moves a current over the border of a level now and then."""
    spikes = zoo.create_model(name).eval().double()
    twin = twin_of(spikes)
    assert twin is not None
    with torch.no_grad():
        for images in smooth_images(count).double().split(50):
            torch.testing.assert_close(twin(images), spikes(images), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("digits", "unary"), [(SMALL_DIGITS, SMALL), (FULL_DIGITS, FULL)])
def test_digits_read_the_tensors_of_the_unary_network(digits: str, unary: str) -> None:
    in_digits, in_unary = (zoo.create_model(name).state_dict() for name in (digits, unary))
    assert in_digits.keys() == in_unary.keys()
    assert all(torch.equal(value, in_unary[key]) for key, value in in_digits.items())


def test_the_twin_is_a_model_like_any_other(tmp_path: Path) -> None:
    spikes, images = zoo.create_model(SMALL), smooth_images(4)
    twin = twin_of(spikes)
    assert twin is not None
    zoo.save(twin, tmp_path / "twin")
    saved = f"local-dir:{tmp_path / 'twin'}"
    answers = zoo.predict(saved, images)
    assert answers == zoo.predict(twin, images)
    assert labels_of(twin) == labels_of(spikes)
    assert zoo.profile(saved, 32).timesteps == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [SMALL, FULL])
def test_the_twin_answers_as_the_spikes_do_in_float32(name: str) -> None:
    spikes, images = zoo.create_model(name).eval(), smooth_images(100)
    twin = twin_of(spikes)
    assert twin is not None
    with torch.no_grad():
        same = twin(images).argmax(1) == spikes(images).argmax(1)
    assert same.float().mean() >= 0.99


@pytest.mark.parametrize("name", [SMALL, FULL])
def test_operations_are_those_that_hooks_count(name: str) -> None:
    """Real values meet the first convolution, once, and the head; behind it every convolution adds for each spike."""
    model, images = zoo.create_model(name).eval(), smooth_images(2)
    counted = zoo.profile(model, images=images).activity
    assert counted is not None
    totals = {"macs": 0, "acs": 0}

    def see(layer: Any, args: tuple[Tensor], output: Tensor) -> None:
        (x,) = args
        if isinstance(layer, nn.Linear) or x.shape[1] == 3:
            totals["macs"] += output.numel() * layer.weight[0].numel()
            return
        assert len(x.unique()) <= 2  # no spike, or one worth the threshold
        ones = torch.ones_like(layer.weight[:1])
        pairs = nn.functional.conv2d((x > 0).float(), ones, stride=layer.stride, padding=layer.padding)
        totals["acs"] += int(pairs.double().sum()) * layer.out_channels

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(see)
    with torch.no_grad():
        model(images)
    assert (counted.synaptic.macs, counted.synaptic.acs) == (totals["macs"], totals["acs"])
    assert not counted.uncounted
