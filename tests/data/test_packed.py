"""Packed splits: read as they are, damaged images counted and left out, broken files refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.made_data import packed
from zoo.data import MemorySplit, load_split
from zoo.data.images import sample_photographs
from zoo.errors import InputError


def test_packed_images_are_decoded_as_they_are(tmp_path: Path) -> None:
    data = load_split(packed(tmp_path / "train.npz"), "train")
    assert isinstance(data, MemorySplit)
    assert data.size == (16, 16)
    assert data.classes == ("dark", "bright")
    pixels, labels = data.read(torch.tensor([5, 2]))
    assert pixels.shape == (2, 3, 16, 16)
    assert pixels.dtype is torch.uint8
    assert labels.tolist() == [1, 0]
    means = data.pixels.float().mean((1, 2, 3))
    assert means[data.labels == 1].min() > 180
    assert means[data.labels == 0].max() < 70
    assert "24 images of 2 classes, stored as JPEG, at 16×16 pixels" in data.origin


def test_damaged_images_are_counted_named_and_left_out(tmp_path: Path) -> None:
    path = packed(tmp_path / "bad.npz", damaged=(5, 8))
    data = load_split(path, "val")
    assert len(data) == 22
    assert data.damage.count == 2
    assert data.damage.names[0].startswith(f"image 5 of {path} (bright/00002.jpg) is not an image")
    assert data.labels.tolist() == [i % 2 for i in range(24) if i not in (5, 8)]
    with pytest.raises(InputError, match=r"over 1 damaged images.*image 5 of .*; image 8 of .*Repair or remove them"):
        load_split(path, "val", max_damaged=1)


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_bytes_are_refused_or_read(tmp_path: Path, compressed: bool) -> None:
    path = packed(tmp_path / "a.npz", count=4)
    if compressed:
        with np.load(path) as arrays:
            np.savez_compressed(path, **arrays)
    whole = np.fromfile(path, np.uint8)
    rng = np.random.default_rng(0)
    refused = 0
    for i in range(300):
        bytes_ = whole[: rng.integers(len(whole))].copy() if i % 3 == 0 else whole.copy()
        for position in rng.integers(-700, 300, 3):  # where the headers are
            if -len(bytes_) <= position < len(bytes_):
                bytes_[position] = rng.integers(256)
        bytes_.tofile(path)
        try:
            load_split(path, "val")
        except InputError:
            refused += 1
    assert refused > 200


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.arange(24) % 2 + 7}, "24 labels from 0 to 1 must go with 24 images"),
        ({"labels": np.arange(23) % 2}, "23 labels from 0 to 1 must go with 24 images"),
        ({"labels": np.arange(24) / 2}, "labels is float64"),
        ({"labels": np.zeros((24, 2), int)}, r"labels is int64 of shape \(24, 2\)"),
        ({"numbers": np.arange(3)}, "3 numbers must go with 24 images"),
        ({"numbers": np.array(["x"] * 24)}, "numbers must be integers, not <U1"),
        ({"numbers": np.full(24, np.nan)}, "numbers must be integers, not float64"),
        ({"offsets": np.zeros(25, int)}, "offsets must rise from 0 to"),
        ({"offsets": np.arange(25)[::-1]}, "offsets must rise from 0 to"),
        ({"jpeg": np.zeros(9, np.float32)}, "jpeg is float32"),
        ({"classes": np.array(["dark", "dark"])}, "classes must be one row of names, each once"),
        ({"classes": np.array([1, 2])}, "classes must be one row of names, each once"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_split(packed(tmp_path / "odd.npz", **changes), "val")


def test_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.npz is not a folder, an .npz file or a data set"):
        load_split(tmp_path / "none.npz", "val")
    np.savez(tmp_path / "other.npz", jpeg=np.zeros(3))
    with pytest.raises(InputError, match="lacks the arrays offsets, labels, classes; it holds jpeg"):
        load_split(tmp_path / "other.npz", "val")
    photograph = Path(sample_photographs()[0])
    with pytest.raises(InputError, match=rf"^{photograph} is not an \.npz of plain arrays; data are .* by name"):
        load_split(photograph, "val")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"one.npy is not an .npz of plain arrays; data are"):
        load_split(tmp_path / "one.npy", "val")
    whole = packed(tmp_path / "whole.npz").read_bytes()
    for content in (b"", b"junk", b"PK\x03\x04junk", whole[: len(whole) // 2]):
        (tmp_path / "junk.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"junk.npz is not an .npz of plain arrays"):
            load_split(tmp_path / "junk.npz", "val")
