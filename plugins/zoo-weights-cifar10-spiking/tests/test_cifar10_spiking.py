"""Every weight of this distribution loads by its name, without a network, and its figures are those of the model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import zoo
from zoo.exporting import export_onnx
from zoo.testing import WeightTests


class TestWeights(WeightTests):
    name = "cifar10spiking"
    dataset_note = "JPEG"


def test_onnxruntime_computes_what_torch_computes(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = zoo.create_model("sew_resnetsmall_b32_m2_d4_direct.cifar10").eval()
    file = tmp_path / "spikes.onnx"
    export_onnx(model, file, image_size=32, batch=None)
    drawn = torch.Generator().manual_seed(1)
    coarse = torch.rand(200, 3, 4, 4, generator=drawn)
    images = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear")  # smooth, as photographs are
    (logits,) = onnxruntime.InferenceSession(file).run(None, {"pixels": images.numpy()})
    with torch.no_grad():
        expected = model(images)
    torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-3, rtol=1e-3)
