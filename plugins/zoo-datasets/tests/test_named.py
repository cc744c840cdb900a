"""Data sets by name: small folders in their authors' layout, whole, cut and half unpacked; then a table."""

from __future__ import annotations

import io
import shutil
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import imagenet
from zoo_datasets.named import Caltech101, Caltech256

from zoo.data import DataOptions, dataset_names, load_data, load_split
from zoo.errors import InputError


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise OSError("there is no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def image_file(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file, "JPEG")
    return file.getvalue()


def folder(path: Path, counts: Mapping[str, int]) -> None:
    """Write a folder a class, with that many JPEGs."""
    for name, count in counts.items():
        (path / name).mkdir(parents=True)
        for number in range(count):
            (path / name / f"{number:05d}.jpg").write_bytes(image_file(number))


@pytest.mark.parametrize(
    ("kind", "names"), [(Caltech101, ["Faces", "airplanes"]), (Caltech256, ["001.ak47", "002.bat"])]
)
def test_caltech_is_divided_and_its_gaps_are_an_error(
    kind: Any, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    background = {"BACKGROUND_Google": 1} if kind is Caltech101 else {}
    folder(tmp_path / kind.below, dict.fromkeys(names, 5) | background)
    monkeypatch.setattr(kind, "images", 10)
    data = load_data(kind.name, DataOptions(root=tmp_path, image_size=16))
    assert (data.train.classes, len(data.train), len(data.val)) == (tuple(names), 8, 2)
    held_out = load_split(kind.name, "val", DataOptions(root=tmp_path, image_size=16))
    assert [*held_out.labels] == [*data.val.labels]
    monkeypatch.setattr(kind, "images", 11)
    with pytest.raises(InputError, match="10 of 11 images"):
        load_data(kind.name, DataOptions(root=tmp_path))
    with pytest.raises(InputError, match=f"{kind.name}"):
        load_data(kind.name, DataOptions(root=tmp_path / "nowhere"))


def test_imagenet_has_titles_and_is_refused_half_unpacked(tmp_path: Path) -> None:
    root = tmp_path / "imagenet"
    for split, count in (("train", 2), ("val", 1)):
        folder(root / split, dict.fromkeys(("n01", "n02", "n03"), count))
    with pytest.raises(InputError, match=r"imagenet"):
        load_data("imagenet", DataOptions(root=tmp_path))
    names = {"n01": ("crane", "bird"), "n02": ("cat",), "n03": ("crane", "bird")}
    torch.save((names, ["n01"]), root / imagenet.META_FILE)
    data = load_data("imagenet", DataOptions(root=tmp_path))
    assert data.train.classes == ("crane, bird (n01)", "cat", "crane, bird (n03)")
    assert (len(data.train), len(data.val)) == (6, 3)
    (root / "val" / "ILSVRC2012_val_00000001.JPEG").touch()  # torchvision was killed while it sorted them
    with pytest.raises(InputError, match=r"val .* remove it"):
        load_data("imagenet", DataOptions(root=tmp_path))
    shutil.rmtree(root / "train" / "n02")
    with pytest.raises(InputError, match="train holds 2 of 3 classes"):
        load_data("imagenet", DataOptions(root=tmp_path))
    assert "imagenet" in dataset_names()


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "caltech101", "caltech256", "imagenet"])
def test_what_stands_behind_a_colon_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="behind a colon"):
        load_data(f"{name}:128", DataOptions(root=tmp_path))


def test_a_table_is_opened_by_its_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    images = [{"bytes": image_file(number), "path": None} for number in range(10)]
    features = datasets.Features(picture=datasets.Image(), label=datasets.Value("string"))
    rows = datasets.Dataset.from_dict({"picture": images, "label": ["dark", "bright"] * 5}, features)
    rows.to_parquet(tmp_path / "rows.parquet")
    data = load_data(tmp_path / "rows.parquet")
    assert (data.train.classes, len(data.train), len(data.val)) == (("bright", "dark"), 8, 2)
