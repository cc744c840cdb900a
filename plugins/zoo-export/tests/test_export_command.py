"""`zoo export`, as a user and as a script meet it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner, Result

import zoo
from zoo.catalog.files import default_catalog
from zoo.cli import app
from zoo.registry.components import parse_name

SMALL, SPIKING = "ann_vgg_b1_m1_d1", "snn_vgg_b1_m1_d1_ste_bpd"
BUNDLED = "ann_resnet_b8_m2_d4.cifar10"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def write_noise(file: Path, classes: tuple[str, ...], count: int) -> Path:
    """A packed file of so many images of 32 pixels, all classes in turn."""
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    np.savez(file, images=images, labels=np.arange(count) % len(classes), classes=np.array(classes))
    return file


def metadata(file: Path) -> dict[str, str]:
    return {each.key: each.value for each in onnx.load(file).metadata_props}


@pytest.mark.slow
def test_a_listed_weight_is_exported_in_its_own_size(tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    result = run(BUNDLED, "--out", out, "--batch-size", "dynamic", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {
        "file": str(out),
        "name": BUNDLED,
        "input_shape": ["batch", 3, 32, 32],
        "output_shape": ["batch", 10],
        "opset": 18,
        "size": out.stat().st_size,
    }
    told, weight = metadata(out), default_catalog().weight(parse_name(BUNDLED))
    assert (told["zoo.name"], told["zoo.sha256"], told["zoo.license"]) == (BUNDLED, weight.sha256, "MIT")
    assert (told["zoo.version"], json.loads(told["zoo.labels"])) == (zoo.__version__, list(weight.labels))
    stated = {"size": 32, "mean": [0.0], "std": [1.0], "range": [0, 1], "channels": "RGB"}
    assert json.loads(told["zoo.preprocessing"]) == weight.preprocessing.model_dump(mode="json") | stated


def test_a_network_without_weights_says_so_and_replaces_a_file_by_force(tmp_path: Path) -> None:
    out = tmp_path / "there.onnx"
    out.write_text("mine")
    result = run(SMALL, "--out", out, "--image-size", "8", "--force")
    assert result.stdout.startswith(f"{SMALL}, untrained: pixels 1 × 3 × 8 × 8 → logits 1 × 1000\n")
    assert sorted(metadata(out)) == ["zoo.name", "zoo.version"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nonsense", "--out", "{}/model.onnx"), "nonsense"),
        ((f"{SMALL}.none", "--out", "{}/model.onnx"), "has no pretrained weights"),
        ((SMALL, "--out", "{}/model"), "does not end with .onnx"),
        ((SMALL, "--out", "{}/there.onnx"), "--force overwrites"),
        ((SMALL, "--out", "{}/model.onnx", "--batch-size", "many"), "dynamic"),
        ((SMALL, "--out", "{}/model.onnx", "--batch-size", "0"), "--batch-size"),
        ((SMALL, "--out", "{}/model.onnx", "--image-size", "2"), "too small"),
        ((SMALL,), "--out"),
        ((SMALL, "--out", "{}/model.onnx", "--format", "tflite"), "tflite"),
        ((BUNDLED, "--out", "{}/model.onnx", "--quantize", "int8"), "go together"),
        ((BUNDLED, "--out", "{}/model.onnx", "--data", "{}"), "go together"),
        ((SMALL, "--out", "{}/model.onnx", "--quantize", "int8", "--data", "{}"), "untrained"),
        ((SMALL, "--out", "{}/model.onnx", "--block", "stem"), "for --format nir"),
        ((SPIKING, "--out", "{}/blocks", "--format", "nir", "--batch-size", "2"), "are for ONNX"),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_nothing(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "there.onnx").write_text("mine")
    result = run(*(argument.format(tmp_path) for argument in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["there.onnx"]
    assert (tmp_path / "there.onnx").read_text() == "mine"


def test_without_its_plugin_an_option_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.registry.installing.is_installed", lambda distribution: False)
    result = run(SPIKING, "--out", tmp_path / "x", "--format", "nir")
    assert result.exit_code == 2
    assert "install it with: pip install" in result.stderr
    assert not (tmp_path / "x").exists()


# 8-bit integers -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_layers_are_in_integers_and_agree_with_those_in_float32(tmp_path: Path) -> None:
    record = default_catalog().weight(parse_name(BUNDLED))
    data, out = write_noise(tmp_path / "noise.npz", record.labels, 100), tmp_path / "small.onnx"
    result = run(BUNDLED, "--out", out, "--batch-size", "dynamic", "--quantize", "int8", "--data", data, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["quantized"]
    assert told["size"] == out.stat().st_size < 0.6 * told["float_size"]
    assert abs(told["top1"] - told["float_top1"]) <= 15
    assert abs(told["top1"] - told["float_top1"]) * told["images"] <= 100 * told["changed"] + 1e-6
    assert told["images"] + told["calibration_images"] > 80
    made = onnx.load(out)
    shapes = [each for each in made.graph.initializer if len(each.dims) == 4]
    assert {onnx.helper.tensor_dtype_to_np_dtype(each.data_type) for each in shapes} == {np.dtype(np.int8)}
    about = metadata(out)
    assert about["zoo.quantized"] == "int8"
    assert about["zoo.sha256"] == record.sha256


@pytest.mark.slow
def test_other_classes_are_refused(tmp_path: Path) -> None:
    data, out = write_noise(tmp_path / "kinds.npz", ("a", "b"), 20), tmp_path / "model.onnx"
    result = run(BUNDLED, "--out", out, "--quantize", "int8", "--data", data)
    assert "other classes" in " ".join(result.output.split())
    assert not out.exists()
