"""`zoo export --quantize int8`: what is in integers, that it still classifies, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner, Result

from tests.data.made_data import packed
from zoo.catalog import default_catalog
from zoo.cli import app
from zoo.registry import parse_name

BUNDLED = "ann_resnet_b8_m2_d4.cifar10"


def export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


@pytest.fixture
def trained(tmp_path: Path) -> tuple[Path, Path]:
    """A run on dark and bright images, and these."""
    data = packed(tmp_path / "kinds.npz", 60)
    arguments = ["train", "ann_resnet_b2_m2_d1", "--data", str(data), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*arguments, "--epochs", "3", "--batch-size", "8", "--precision", "no"])
    assert result.exit_code == 0, result.output
    return tmp_path / "run", data


def test_layers_are_in_integers_and_both_accuracies_are_told(trained: tuple[Path, Path], tmp_path: Path) -> None:
    run, data = trained
    plain, out = tmp_path / "plain.onnx", tmp_path / "small.onnx"
    assert export(run, "--out", plain, "--batch", "dynamic").exit_code == 0
    result = export(run, "--out", out, "--batch", "dynamic", "--quantize", "int8", "--data", data, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["quantized"]
    assert told["float_size"] == plain.stat().st_size
    assert told["size"] == out.stat().st_size < told["float_size"]
    assert told["top1"] >= told["float_top1"] - 10
    assert (told["images"], told["calibration_images"]) == (12, 48)
    graph = onnx.load(out).graph
    kinds = {onnx.helper.tensor_dtype_to_np_dtype(each.data_type) for each in graph.initializer if len(each.dims) == 4}
    assert kinds == {np.dtype(np.int8)}
    about = {prop.key: prop.value for prop in onnx.load(out).metadata_props}
    wanted = {prop.key: prop.value for prop in onnx.load(plain).metadata_props}
    assert about == wanted | {"zoo.quantized": "int8"}
    text = export(run, "--out", out, "--quantize", "int8", "--data", data, "--force").stdout
    assert "in 8-bit integers, calibrated on 48 training images: " in text
    assert "12 validation images are right" in text


@pytest.mark.slow
def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    data, out = packed(tmp_path / "kinds.npz", 20), tmp_path / "model.onnx"
    assert "go together" in export(BUNDLED, "--out", out, "--quantize", "int8").output
    assert "go together" in export(BUNDLED, "--out", out, "--data", data).output
    result = export(BUNDLED, "--out", out, "--quantize", "int8", "--data", data)
    assert result.exit_code != 0
    labels = default_catalog().weight(parse_name(BUNDLED)).labels
    assert f"the data have other classes than {BUNDLED}, which has 10: {labels[0]}" in " ".join(result.output.split())
    result = export("ann_vgg_b1_m1_d1", "--out", tmp_path / "other.onnx", "--quantize", "int8", "--data", data)
    assert "is untrained" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["kinds.npz"]
