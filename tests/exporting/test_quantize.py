"""`zoo export --quantize int8`: layers in integers that still classify, and data that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner, Result

from tests.benchmarks.noise import write_noise
from tests.data.made_data import packed
from zoo.catalog import default_catalog
from zoo.cli import app
from zoo.registry import parse_name

BUNDLED = "ann_resnet_b8_m2_d4.cifar10"


def export(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


@pytest.mark.slow
def test_layers_are_in_integers_and_agree_with_those_in_float32(tmp_path: Path) -> None:
    data, out = write_noise(tmp_path / "noise.npz", BUNDLED, 100), tmp_path / "small.onnx"
    result = export(BUNDLED, "--out", out, "--batch", "dynamic", "--quantize", "int8", "--data", data, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["quantized"]
    assert told["size"] == out.stat().st_size < 0.6 * told["float_size"]
    assert abs(told["top1"] - told["float_top1"]) <= 15
    assert told["images"] + told["calibration_images"] > 80
    made = onnx.load(out)
    shapes = [each for each in made.graph.initializer if len(each.dims) == 4]
    assert {onnx.helper.tensor_dtype_to_np_dtype(each.data_type) for each in shapes} == {np.dtype(np.int8)}
    about = {prop.key: prop.value for prop in made.metadata_props}
    assert about["zoo.quantized"] == "int8"
    assert about["zoo.sha256"] == default_catalog().weight(parse_name(BUNDLED)).sha256


def test_data_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    data, out = packed(tmp_path / "kinds.npz", 20), tmp_path / "model.onnx"
    assert "go together" in export(BUNDLED, "--out", out, "--quantize", "int8").output
    assert "go together" in export(BUNDLED, "--out", out, "--data", data).output
    result = export("ann_vgg_b1_m1_d1", "--out", out, "--quantize", "int8", "--data", data)
    assert "untrained" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["kinds.npz"]


@pytest.mark.slow
def test_other_classes_are_refused(tmp_path: Path) -> None:
    data, out = packed(tmp_path / "kinds.npz", 20), tmp_path / "model.onnx"
    result = export(BUNDLED, "--out", out, "--quantize", "int8", "--data", data)
    assert result.exit_code != 0
    assert "other classes" in " ".join(result.output.split())
    assert not out.exists()
