"""Series of sensors as frames of one pixel: resampled, in bytes of the training split's range."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner
from zoo_datasets.series import resample

import zoo
from zoo.cli import app
from zoo.data import load_data
from zoo.errors import CompositionError, InputError, MissingExtraError

CHANNELS = 6
RANGE = np.linspace(2, 40, CHANNELS)


def made_series(split: str, lengths: tuple[int, ...]) -> tuple[list[np.ndarray], np.ndarray]:
    """Series (C, T) as aeon gives them: of training from −range to range of each channel, of test twice as far."""
    draw = np.random.default_rng({"train": 0, "test": 1}[split])
    scale = RANGE[:, None] * (1 if split == "train" else 2)
    series = [scale * draw.uniform(-1, 1, (CHANNELS, length)) for length in lengths]
    if split == "train":
        series[0][:, 0], series[0][:, 1] = -RANGE, RANGE
    return series, np.array(["walk", "run"] * (len(lengths) // 2))


@pytest.fixture
def _aeon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace aeon, which is large, by a package of two small sets."""
    package, datasets = ModuleType("aeon"), ModuleType("aeon.datasets")

    def load_equal(split: str) -> tuple[np.ndarray, np.ndarray]:
        series, classes = made_series(split, (10,) * 12)
        return np.stack(series), classes

    made: Any = datasets
    made.load_basic_motions = load_equal
    made.load_japanese_vowels = lambda split: made_series(split, (7, 9, 12, 5, 7, 8) * 2)
    vars(package)["datasets"] = datasets
    monkeypatch.setitem(sys.modules, "aeon", package)
    monkeypatch.setitem(sys.modules, "aeon.datasets", datasets)


@pytest.mark.usefixtures("_aeon")
@pytest.mark.parametrize(("name", "longest"), [("basicmotions", 10), ("japanesevowels", 12)])
def test_series_are_frames_of_one_pixel(name: str, longest: int) -> None:
    splits = load_data(name)
    assert splits.train.classes == ("run", "walk")
    for split in (splits.train, splits.val):
        assert split.data.axes == (longest, CHANNELS)
        pixels, labels = split.read(np.arange(len(split)))  # type: ignore[arg-type]
        assert pixels.shape == (12, longest, CHANNELS, 1, 1)
        assert labels.tolist() == [1, 0] * 6
    assert load_data(f"{name}:4").val.data.axes == (4, CHANNELS)


@pytest.mark.usefixtures("_aeon")
def test_bytes_divide_the_range_of_each_channel_in_training() -> None:
    splits = load_data("basicmotions")
    for split, data, count in (("train", splits.train.data, 0), ("test", splits.val.data, 20)):
        series, _ = made_series(split, (10,) * 12)
        levels = np.stack([np.asarray(data.item(row)) for row in range(12)])[..., 0, 0]
        expected = 255 * (np.stack(series).transpose(0, 2, 1) / RANGE + 1) / 2
        assert np.abs(levels - expected.clip(0, 255)).max() <= 0.5
        assert ((expected < 0) | (expected > 255)).sum() >= count  # what is outside is at the end of the range


def test_resampled_series_keep_their_ends_and_lie_between_values() -> None:
    series = np.array([[0.0, 5.0], [2.0, 1.0], [4.0, 3.0]])
    assert np.array_equal(resample(series, 3), series)
    assert resample(series, 5).tolist() == [[0, 5], [1, 3], [2, 1], [3, 2], [4, 3]]
    assert resample(series, 1).tolist() == [[0, 5]]
    assert resample(series[:1], 3).tolist() == [[0, 5]] * 3


@pytest.mark.usefixtures("_aeon")
@pytest.mark.parametrize("rest", ["0", "1025", "half", "4:4", "-1"])
def test_timesteps_that_are_not_valid_are_named(rest: str) -> None:
    with pytest.raises((InputError, CompositionError), match="T"):
        load_data(f"basicmotions:{rest}")


def test_without_aeon_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aeon", None)
    with pytest.raises(MissingExtraError, match="pip install aeon"):
        load_data("basicmotions")


@pytest.mark.usefixtures("_aeon")
def test_a_spiking_network_trains_on_series(tmp_path: Path) -> None:
    asked = ["--data", "japanesevowels", "--out", str(tmp_path / "out"), "--set", "epochs=1", "--batch-size", "4"]
    done = CliRunner().invoke(app, ["train", "sew_resnetsmall_b2_m1_d1_frames", *asked, "--precision", "float32"])
    assert done.exit_code == 0, done.output
    assert zoo.create_model(f"local-dir:{tmp_path / 'out'}").input_axes == (12, CHANNELS)


def test_series_of_aeon_itself_are_read() -> None:
    pytest.importorskip("aeon")
    motions, vowels = load_data("basicmotions"), load_data("japanesevowels")
    assert [len(split) for split in (motions.train, motions.val, vowels.train, vowels.val)] == [40, 40, 270, 370]
    assert (motions.train.data.axes, vowels.val.data.axes) == ((100, 6), (26, 12))
    assert (len(motions.train.classes), len(vowels.train.classes)) == (4, 9)
