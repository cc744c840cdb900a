"""Mean, std and crop of a weight: in its record, in what prepares images, in training, measuring and ONNX."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from zoo_export.onnx_file import export_onnx

import zoo
from zoo.catalog.records import Preprocessing
from zoo.data.images import Transform, read_image, sample_photographs
from zoo.errors import CompositionError, OptionError
from zoo.publishing.saving import build_folder
from zoo.weights.load import pack

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NAME = "ann_resnet_b2_m2_d1"


def folder_of(path: Path, **stated: Any) -> str:
    torch.manual_seed(0)
    model = zoo.create_model(NAME, num_classes=3)
    facts: dict[str, Any] = {"tag": "made", "license": "MIT", "labels": ["a", "b", "c"], "dataset": "noise"}
    facts["preprocessing"] = {"size": 32} | stated
    build_folder(model, pack(model.state_dict(), model.spec), facts).write(path)
    return f"local-dir:{path}"


def test_a_record_keeps_mean_std_and_crop(tmp_path: Path) -> None:
    reference = folder_of(tmp_path / "kept", mean=MEAN, std=STD, crop_pct=0.875)
    model = zoo.create_model(reference)
    assert (model.pretrained_cfg["mean"], model.pretrained_cfg["std"]) == (MEAN, STD)
    assert model.pretrained_cfg["crop_pct"] == 0.875
    stated = zoo.transform(reference).preprocessing
    assert (stated.mean, stated.std, stated.crop_pct) == (MEAN, STD, 0.875)
    assert zoo.transform(model) == zoo.transform(reference)
    record = zoo.save(model, tmp_path / "again")
    assert record.preprocessing == stated
    content = json.loads((tmp_path / "again" / "config.json").read_text())
    assert content["zoo"]["format"] == 2
    assert content["pretrained_cfg"]["mean"] == list(MEAN), "timm reads it too"


@pytest.mark.parametrize(
    "wrong", [{"std": (0.0,)}, {"mean": ()}, {"crop_pct": 0.01}, {"crop_pct": 1.5}, {"mean": (math.nan,)}]
)
def test_impossible_preprocessing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Preprocessing(size=32, **wrong)


@pytest.mark.parametrize("size", [0, -5, 20_000, "32", 32.0])
def test_an_impossible_image_size_is_refused(size: Any) -> None:
    for model in ("has8_resnet_b8_m2_d4_ste_bpd.cifar10", zoo.create_model(NAME)):
        with pytest.raises((CompositionError, OptionError), match="image_size"):
            zoo.transform(model, size)


def test_a_profile_takes_what_the_transform_gives(tmp_path: Path) -> None:
    model = zoo.create_model(folder_of(tmp_path / "kept", mean=MEAN, std=STD))
    image = zoo.transform(model)(sample_photographs()[0])
    assert image.min() < 0, "outside [0, 1]"
    assert zoo.profile(model, images=image[None]).activity is not None


@pytest.mark.slow
def test_onnx_takes_pixels_and_normalises_itself(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    reference = folder_of(tmp_path / "kept", mean=MEAN, std=STD)
    model = zoo.create_model(reference).eval()
    export_onnx(model, tmp_path / "model.onnx", image_size=32, batch=None)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    pixels = torch.rand(4, 3, 32, 32)
    logits = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})[0]
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    torch.testing.assert_close(torch.from_numpy(logits), model((pixels - mean) / std).detach(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("crop_pct", "interpolation", "size"), [(0.875, "bicubic", 224), (0.95, "bilinear", 224), (0.9, "bicubic", 64)]
)
def test_a_photograph_is_cropped_as_timm_does(crop_pct: float, interpolation: Any, size: int) -> None:
    """Wide and tall, to the last bit."""
    from timm.data import create_transform

    theirs = create_transform(
        (3, size, size), interpolation=interpolation, crop_pct=crop_pct, mean=MEAN, std=STD, is_training=False
    )
    ours = Transform(Preprocessing(size=size, crop_pct=crop_pct, interpolation=interpolation, mean=MEAN, std=STD))
    image = read_image(sample_photographs()[0]).crop((0, 0, 301, 257))
    for picture in (image, image.transpose(Image.Transpose.ROTATE_90)):
        torch.testing.assert_close(ours(picture), theirs(picture), rtol=0, atol=1e-5)
