"""To which size images are brought."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.data.made_data import folder
from zoo.catalog.schema import Preprocessing
from zoo.data import load_data, load_split
from zoo.data.image_list import ImageStore, Listing
from zoo.data.images import prepare, read_image
from zoo.data.size import choose_size, to_bytes
from zoo.errors import CompositionError


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((32, 32), (32, 32), (32, 32)),
        ((224, 224), (224, 224), (224, 224)),
        ((48, 36), (48, 36), (36, 36)),
        ((36, 48), (60, 40), (36, 36)),
        ((30, 35), (33, 31), (30, 30)),
        ((224, 100), (224, 200), (100, 100)),
        ((225, 225), (225, 225), (224, 224)),
        ((500, 100), (500, 100), (224, 224)),  # one side over 224
        ((32, 32), (32, 33), (32, 32)),  # several sizes
        ((300, 400), (50, 60), (224, 224)),
        ((50, 60), (60, 225), (224, 224)),
    ],
)
def test_small_images_are_not_enlarged_and_all_others_get_224(
    tmp_path: Path, first: tuple[int, int], second: tuple[int, int], expected: tuple[int, int]
) -> None:
    folder(tmp_path / "train", {"a": 1, "b": 1}, first)
    folder(tmp_path / "val", {"a": 1, "b": 1}, second)
    data = load_data(tmp_path)
    for split in (data.train, data.val):
        assert split.size == expected
        assert split.read(torch.tensor([0, 1]))[0].shape == (2, 3, *expected)
        assert f"at {expected[1]}×{expected[0]} pixels" in split.origin


def test_a_size_that_is_asked_for_is_used(tmp_path: Path) -> None:
    folder(tmp_path / "all", {"a": 2, "b": 2}, (32, 48))
    assert load_split(tmp_path / "all", "val", image_size=20).read(torch.tensor([1]))[0].shape == (1, 3, 20, 20)
    with pytest.raises(CompositionError, match="image_size=0 is out of range; valid: 1 to"):
        load_split(tmp_path / "all", "val", image_size=0)


def test_images_are_resized_as_predict_does(tmp_path: Path) -> None:
    folder(tmp_path / "all", {"a": 2, "b": 2}, (301, 260))
    split = load_split(tmp_path / "all", "val")
    pixels, _ = split.read(torch.arange(4))
    for image, file in zip(pixels, sorted((tmp_path / "all").glob("*/*")), strict=True):
        assert torch.equal(image.float() / 255, prepare(read_image(file), Preprocessing(size=224)))


def test_the_centre_is_kept_and_details_are_averaged(tmp_path: Path) -> None:
    pixels = np.full((448, 1000, 3), 255, np.uint8)
    pixels[:, 276:724] = 0
    pixels[::2, 276:724] = 200  # lines that are too fine for half the size
    made = to_bytes(Image.fromarray(pixels), (224, 224))
    assert made[:, 2:-2, 2:-2].float().sub(100).abs().max() <= 2


@given(width=st.integers(1, 60), height=st.integers(1, 60), size=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_every_image_gets_the_size_and_keeps_a_flat_colour(width: int, height: int, size: tuple[int, int]) -> None:
    made = to_bytes(Image.new("RGB", (width, height), (10, 20, 30)), size)
    assert made.shape == (3, *size)
    assert made.dtype is torch.uint8
    assert made.unique().tolist() == [10, 20, 30]


class _Asked(ImageStore):
    """Images of those (width, height), and how many were asked for."""

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.sizes, self.asked = sizes, 0

    def name(self, key: int) -> str:
        return str(key)

    def image(self, key: int) -> Image.Image:
        raise AssertionError("headers are enough")

    def upright_size(self, key: int) -> tuple[int, int]:
        self.asked += 1
        return self.sizes[key]

    def stored_bytes(self, key: int) -> int:
        return 0

    def digest(self, key: int) -> bytes:
        raise AssertionError("headers are enough")


@pytest.mark.parametrize(
    ("sizes", "asked"),
    [([(300, 300)] * 9, 1), ([(32, 32), (32, 330)] * 9, 2), ([(32, 32), (32, 33)] * 9, 18), ([(32, 32)] * 9, 9)],
)
def test_no_more_headers_are_read_than_decide(sizes: list[tuple[int, int]], asked: int) -> None:
    store, rows = _Asked(sizes), torch.arange(len(sizes))
    choose_size([Listing(store, rows, rows, ("a",), "here", "here", "JPEG")])
    assert store.asked == asked
