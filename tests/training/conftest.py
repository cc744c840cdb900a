"""A small training split."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.data.made_data import packed
from zoo.data import ImageSplit, load_split


@pytest.fixture
def data(tmp_path: Path) -> ImageSplit:
    return load_split(packed(tmp_path / "train.npz"), "train")
