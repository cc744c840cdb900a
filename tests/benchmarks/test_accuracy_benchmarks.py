"""The benchmarks that need validation images, on a few made ones: what onnxruntime says, and what fusing moves."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import zoo
from benchmarks import export_agreement, fused_accuracy
from benchmarks.common import validation
from benchmarks.common.reporting import RESULTS
from zoo.errors import install_extra

PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
CLASSES = 4
SMALL = "ann_resnet_b8_m1_d1"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed split and another beside it: four shades of grey, with noise, class by class."""
    import io

    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for name, count in (("val", 40), ("train", 80)):
        labels, files = np.sort(np.arange(count) % CLASSES), []
        for label in labels:
            file = io.BytesIO()
            pixels = rng.integers(0, 50, (32, 32, 3)) + 50 * label
            Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG")
            files.append(file.getvalue())
        np.savez(
            folder / f"{name}.npz",
            jpeg=np.frombuffer(b"".join(files), np.uint8),
            offsets=np.cumsum([0, *map(len, files)]),
            labels=labels,
            classes=np.array(["black", "dark", "pale", "white"]),
        )
    return folder / "val.npz"


def run(script: Any, *arguments: object) -> Any:
    return CliRunner().invoke(script.app, [str(argument) for argument in arguments], env=PLAIN)


def test_images_are_spread_over_the_split(data: Path) -> None:
    pixels, labels = validation.read_images(data, 8)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert pixels.shape == (8, 3, 32, 32)
    assert 0 <= pixels.min() < pixels.max() <= 1
    assert torch.equal(validation.read_images(data)[0][::5], pixels)


def test_an_untrained_network_is_fitted_where_it_ends(data: Path) -> None:
    pixels, labels = validation.read_images(data)
    model = zoo.create_model(SMALL, num_classes=CLASSES)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    validation.fit(model, pixels, labels, batch=7, calibrating=20)
    assert not model.training
    assert validation.percent_right(validation.logits_of(model, pixels, 9), labels) > 90
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    norms = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert {"head.fc.weight", "head.fc.bias"} < changed
    assert {key.rpartition(".")[0] for key in changed} == {"head.fc", *norms}
    assert not any(key.endswith("weight") for key in changed - {"head.fc.weight"})


@pytest.mark.slow
def test_export_agreement_from_end_to_end(data: Path, tmp_path: Path) -> None:
    arguments = (SMALL, "--data", data, "--images", 20, "--fitted", 40, "--out", tmp_path)
    result = run(export_agreement, *arguments)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "export_agreement.json").read_text(encoding="utf-8"))
    (row,) = written["rows"]
    assert (row["name"], row["images"], row["classes_predicted"]) == (SMALL, 20, CLASSES)
    assert row["weights"] == "untrained; batch norms and last layer fitted to 40 training images"
    assert row["equal_predictions_onnxruntime"] == row["equal_logits_onnxruntime"] == 1
    assert row["top1_torch"] == row["top1_onnxruntime"] > 50
    assert row["blocks"] == [{"block": name, "within": 1.0} for name in ("stages.0.0", "stages.1.0", "stages.1.1")]
    assert written["verdict"]["differing"] == []
    assert "100.00%" in result.output


def test_alike_counts_images() -> None:
    ours = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [10.0, 0.0]])
    theirs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 1.0], [10.0, 0.0005]])
    assert export_agreement.alike(ours, theirs) == {"equal_predictions": 0.75, "equal_logits": 0.5}
    assert export_agreement.alike(ours, -ours)["equal_logits"] == 0
    assert export_agreement.judge([{"name": "x", "equal_predictions_onnxruntime": 0.995}]) == []
    assert export_agreement.judge([{"name": "x", "equal_predictions_onnxruntime": 0.9949}]) == ["x"]


def test_fused_accuracy_from_end_to_end(data: Path, tmp_path: Path) -> None:
    result = run(fused_accuracy, "ann_resnet_b8_m2_d4", "--data", data, "--batch", 11, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "fused_accuracy.json").read_text(encoding="utf-8"))
    (row,) = written["rows"]
    assert (row["name"], row["images"]) == ("ann_resnet_b8_m2_d4.cifar10", 40)
    assert list(row["forms"]) == ["unfused float32", "unfused bfloat16", "fused float32", "fused bfloat16"]
    assert (
        row["forms"]["unfused float32"]["equal_predictions"] == row["forms"]["fused float32"]["equal_predictions"] == 1
    )
    assert written["verdict"] == {"most_points": 0.3, "moved": []}


def test_differences_are_measured_on_the_same_images() -> None:
    plain, labels = torch.eye(4), torch.tensor([0, 1, 2, 0])
    logits = torch.eye(4)[[0, 1, 3, 0]]
    found = fused_accuracy.compare(logits, plain, labels)
    # One image is lost and one is won: no points, but not without error.
    assert (found["top1"], found["points"], found["equal_predictions"]) == (75, 0, 0.5)
    assert found["standard_error"] == pytest.approx(100 * 2**0.5 / 4)
    for points, moved in ((0.29, []), (-0.31, ["x"])):
        assert fused_accuracy.judge([{"name": "x", "forms": {"fused float32": {"points": points}}}]) == moved


@pytest.mark.parametrize("script", [export_agreement, fused_accuracy])
def test_data_that_are_not_there_are_told(script: Any, tmp_path: Path) -> None:
    result = run(script, SMALL, "--data", tmp_path / "none.npz", "--out", tmp_path)
    assert result.exit_code == 2
    assert "none.npz" in result.output
    assert not list(tmp_path.iterdir())


def test_kept_results_are_within_their_bounds() -> None:
    kept = {
        script: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
        for script, name in ((export_agreement, "export_agreement"), (fused_accuracy, "fused_accuracy"))
    }
    for script, result in kept.items():
        assert script.judge(result["rows"]) == []
    rows = kept[export_agreement]["rows"]
    assert [row["name"].partition("_")[0] for row in rows] == ["has8", "ann", "sew"]
    assert all(row["images"] == 1000 and row["classes_predicted"] == 10 for row in rows)
    assert [row["images"] for row in kept[fused_accuracy]["rows"]] == [8000, 8000]


def test_without_onnxruntime_nothing_is_written(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = run(export_agreement, SMALL, "--data", data, "--images", 4, "--fitted", 8, "--out", tmp_path)
    assert result.exit_code == 2
    assert install_extra("test") in result.output
    assert not list(tmp_path.iterdir())
