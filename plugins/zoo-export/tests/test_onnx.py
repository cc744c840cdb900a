"""Networks and their parts as ONNX: what onnxruntime computes is what torch computes, and the file says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from zoo_export.onnx_file import export_onnx, to_onnx
from zoo_export.quantize import quantize_onnx

import zoo
from zoo.contracts.classifier import ImageClassifier
from zoo.data import load_data
from zoo.errors import InputError
from zoo.models.factory import open_model
from zoo.registry.components import default_registry

SIDE = 16


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def tiny(name: str) -> ImageClassifier:
    """A network in eval mode whose batch norms have statistics, so that neurons have something to fire at."""
    options: dict[str, Any] = {"timesteps": 2} if name.startswith("sew") else {}
    model = zoo.create_model(name, num_classes=3, **options).train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(8, 3, SIDE, SIDE))
    return model.eval()


def session(data: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def by_onnxruntime(data: bytes, x: Tensor) -> Tensor:
    (output,) = session(data).run(None, {"pixels": x.numpy()})
    return torch.from_numpy(output)


def as_onnx(module: nn.Module, x: Tensor, *, any_batch: bool = False) -> bytes:
    with torch.no_grad():
        made = to_onnx(module.eval(), x, type(module).__name__, any_batch=any_batch)
    onnx.checker.check_model(made, full_check=True)
    data: bytes = made.SerializeToString()
    return data


# Components -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ste", "fourier", "rate", "ttfs", "phase"])
def test_encoders_emit_the_same_spikes(name: str) -> None:
    encoder = default_registry().load("encoder", name)()
    data = as_onnx(encoder, torch.rand(2, 3, 7), any_batch=True)
    for x in (torch.rand(4, 3, 7), torch.rand(1, 3, 7) * 9 - 4, torch.arange(252).reshape(12, 3, 7) / 255):
        assert torch.equal(by_onnxruntime(data, x), encoder(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["if", "lif", "plif"])
def test_neurons_emit_the_same_spikes(name: str) -> None:
    neuron = default_registry().load("neuron", name)()
    data, x = as_onnx(neuron, torch.rand(8, 2, 6)), torch.randn(8, 2, 6) * 2
    spikes = by_onnxruntime(data, x)
    assert torch.equal(spikes, neuron(x))
    assert 0 < spikes.mean() < 1


class _Shift(nn.Module):
    def __init__(self, places: Any) -> None:
        super().__init__()
        self.places = places

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x >> self.places, torch.bitwise_right_shift(x, self.places)))


@pytest.mark.parametrize("dtype", [torch.int64, pytest.param(torch.uint8, marks=pytest.mark.slow)])
def test_shifts_to_the_right_are_exact(dtype: torch.dtype) -> None:
    least, most = max(torch.iinfo(dtype).min, -(2**53)), min(torch.iinfo(dtype).max, 2**53)
    x = torch.tensor([least, least + 1, 0, 1, 5, 77, most - 1, most, *range(100, 124)], dtype=dtype)
    for places in (3, torch.arange(len(x), dtype=dtype) % 7):
        assert torch.equal(by_onnxruntime(as_onnx(_Shift(places), x), x), _Shift(places)(x))


# Blocks and networks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "ann_vgg_b2_m2_d1",
        pytest.param("has8_resnet_b2_m2_d1_fourier_rate_plif", marks=pytest.mark.slow),
        pytest.param("snn_vgg_b2_m1_d1_ste_bpd_lif", marks=pytest.mark.slow),
        pytest.param("sew_resnet18_phase", marks=pytest.mark.slow),
    ],
)
def test_networks_take_any_number_of_images_and_say_the_same(name: str, tmp_path: Path) -> None:
    model, out = tiny(name), tmp_path / "model.onnx"
    exported = export_onnx(model, out, image_size=SIDE, batch=None)
    assert exported.input_shape == ("batch", 3, SIDE, SIDE)
    assert exported.output_shape == ("batch", 3)
    for count in (1, 2, 40):
        x = torch.rand(count, 3, SIDE, SIDE) * torch.rand(count, 1, 1, 1)
        with torch.no_grad():
            expected = model(x)
        found = by_onnxruntime(out.read_bytes(), x)
        assert found.shape == expected.shape
        # One spike that rounds otherwise moves one image's logits, not the others'.
        assert ((found - expected).abs().amax(1) < 1e-4).float().mean() >= (0.9 if count > 2 else 0.5)
        assert (found.argmax(1) == expected.argmax(1)).float().mean() >= (0.95 if count > 2 else 0.5)


SMALL = "ann_vgg_b1_m1_d1"


# The file -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    model = zoo.create_model(SMALL, num_classes=3).train()
    files = [tmp_path / "one.onnx", tmp_path / "two.onnx"]
    for file in files:
        export_onnx(model, file, image_size=8)
    assert all(module.training for module in model.modules())
    data = files[0].read_bytes()
    assert data == files[1].read_bytes()
    for secret in (str(Path(zoo.__file__).parent), "site-packages", "forward", str(tmp_path)):
        assert secret.encode() not in data
    told = {prop.key: prop.value for prop in onnx.load_from_string(data).metadata_props}
    assert told == {"zoo.name": SMALL, "zoo.version": zoo.__version__}


# Refusals -------------------------------------------------------------------------------------------------------------


def test_sizes_that_do_not_fit_are_refused_before_anything_is_computed(tmp_path: Path) -> None:
    model, out = zoo.create_model("ann_vgg_b1_m1_d3", num_classes=2), tmp_path / "model.onnx"
    with pytest.raises(InputError, match="15"):
        export_onnx(model, out, image_size=15)
    with pytest.raises(InputError, match="batch=0"):
        export_onnx(model, out, image_size=16, batch=0)
    with pytest.raises(InputError, match="meta"):
        export_onnx(zoo.create_model(SMALL, device="meta"), out, image_size=32)
    assert not out.exists()


class _Strange(nn.Module):
    """An operation that ONNX has no counterpart of."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


def test_what_onnx_cannot_express_is_named(tmp_path: Path) -> None:
    model = zoo.create_model(SMALL, num_classes=2)
    model.get_submodule("stages.0.0.analog").add_module("act", _Strange())
    with pytest.raises(InputError, match=rf"{SMALL}.*bessel_j0"):
        export_onnx(model, tmp_path / "model.onnx", image_size=8)
    assert list(tmp_path.iterdir()) == []
    assert all(module.training for module in model.modules())


@pytest.mark.slow
def test_answers_that_8_bit_integers_change_are_counted(tmp_path: Path) -> None:
    whole, quantised, labels = tmp_path / "float32.onnx", tmp_path / "int8.onnx", ["a", "b", "c"]
    model = tiny("ann_resnet_b2_m1_d1")
    with torch.no_grad():  # else one class is the answer to everything
        model.get_parameter("head.fc.bias").sub_(model(torch.rand(64, 3, SIDE, SIDE)).mean(0))
    zoo.save(model, tmp_path / "saved", labels=labels)
    weight = open_model(f"local-dir:{tmp_path / 'saved'}").weight
    assert weight is not None
    export_onnx(model, whole, weight, image_size=SIDE, batch=1)
    images = np.random.default_rng(0).integers(0, 256, (160, SIDE, SIDE, 3), np.uint8)
    np.savez(tmp_path / "noise.npz", images=images, labels=np.arange(160) % 3, classes=labels)
    splits = load_data(tmp_path / "noise.npz")
    result = quantize_onnx(whole, quantised, weight, splits)
    assert result.images == len(splits.val)
    pixels = splits.val.read(torch.arange(len(splits.val)))[0].float() / 255
    before, after = (
        torch.cat([by_onnxruntime(file.read_bytes(), image[None]) for image in pixels]).argmax(1)
        for file in (whole, quantised)
    )
    assert 0 < result.changed == int((before != after).sum()) < len(before)
