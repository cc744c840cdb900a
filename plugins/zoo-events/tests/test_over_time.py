"""Still images as frames over time: line by line, and by a window that moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner
from zoo_events import image_to_pan, image_to_scan
from zoo_events.pan import pan_path, seed_of

import zoo
from zoo.cli import app
from zoo.data import DataOptions, load_data, open_parts
from zoo.errors import CompositionError, InputError
from zoo.training.batches import make_plan, read_epoch
from zoo.training.recipe import load_recipe

SIDE = 8


def made_pixels(number: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (side, side, 3)).astype(np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten images of noise of each of two classes."""
    for number in range(20):
        file = tmp_path / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(made_pixels(number)).save(file)
    return tmp_path / "photos"


def frames_of(source: str, name: str = "cat/0.png") -> np.ndarray:
    """Frames of an image, as the data set gives them."""
    (data,) = open_parts(source, ("train", "val"), DataOptions()).values()
    return np.asarray(data.item(list(data.names).index(name)))


@pytest.mark.parametrize("options", ["", "rows:", "5:", "columns:", "columns:3:", "1:"])
def test_lines_put_together_are_the_image(options: str, photos: Path) -> None:
    frames = frames_of(f"scan:{options}{photos}")
    timesteps = int("".join(filter(str.isdecimal, options)) or SIDE)
    assert frames.shape == (timesteps, 3, SIDE, SIDE)
    assert np.array_equal(frames.sum(0), made_pixels(0).transpose(2, 0, 1))
    assert ((frames > 0).sum(0) <= 1).all()


def test_rows_come_from_the_top_and_columns_from_the_left() -> None:
    pixels = made_pixels(0) | 1  # no level is 0
    for order, across in (("rows", 3), ("columns", 2)):
        lit = image_to_scan(pixels, order, 4).any((1, across))
        assert np.array_equal(lit, np.repeat(np.eye(4, dtype=bool), 2, axis=1))


def test_pixels_come_one_by_one(photos: Path) -> None:
    frames = frames_of(f"scan:pixels:{photos}")
    assert frames.shape == (SIDE * SIDE, 3, 1, 1)
    assert np.array_equal(frames.reshape(SIDE, SIDE, 3), made_pixels(0))


@pytest.mark.parametrize("options", ["rows:", "pixels:"])
def test_scans_of_training_are_those_of_whole_images(options: str, photos: Path) -> None:
    data = load_data(f"scan:{options}{photos}").train
    recipe = load_recipe("fast", {"flip": True, "max_shift": 2 * (options == "pixels:"), "reflect": True})
    ((batch,),) = read_epoch(data, make_plan(len(data), len(data), 1, 0), recipe, range(1), 0)
    images = [made_pixels(number) for number in range(20)]
    timesteps = data.data.axes[0]
    known = [
        image_to_scan(view, options[:-1], timesteps).tobytes() for image in images for view in (image, image[:, ::-1])
    ]
    places = [known.index(frames.numpy().tobytes()) for frames in batch.pixels]
    assert {place % 2 for place in places} == {0, 1}


@pytest.mark.parametrize(
    ("options", "told"),
    [("row:", "rows"), ("spiral:", "pixels"), ("0:", "T"), ("9:", "9"), ("pixels:5:", "64"), ("rows:half:", "T")],
)
def test_an_option_of_scan_that_is_not_valid_is_named(options: str, told: str, photos: Path) -> None:
    with pytest.raises((InputError, CompositionError), match=told) as error:
        load_data(f"scan:{options}{photos}")
    assert options.split(":")[-2] in str(error.value)


@pytest.mark.parametrize("source", ["scan", "scan:i2e:", "scan:nowhere", "pan", "pan:scan:", "pan:1:8:"])
def test_data_that_have_no_still_images_say_why(source: str, photos: Path) -> None:
    with pytest.raises(InputError):
        load_data(f"{source}{photos}" if source.endswith(("i2e:", "scan:")) else source)


def test_more_lines_than_the_encoder_takes_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "tall.npz", images=np.zeros((4, 1025, 2, 3), np.uint8), labels=np.arange(4) % 2)
    with pytest.raises(CompositionError, match="1024"):
        load_data(f"scan:{tmp_path / 'tall.npz'}")
    assert load_data(f"scan:64:{tmp_path / 'tall.npz'}").train.data.axes == (64, 3)


def smooth_pixels(number: int) -> np.ndarray:
    """Blobs of colour, 32 pixels a side."""
    coarse = Image.fromarray(made_pixels(number, 5))
    return np.asarray(coarse.resize((32, 32), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("speed", [0.3, 1, 2.5, 8])
def test_the_window_moves_smoothly_at_its_speed(speed: float) -> None:
    path = pan_path(speed, 200, 1).astype(float)
    steps = np.diff(path, axis=0)
    assert path[0].tolist() == [0, 0]
    assert np.abs(np.hypot(*steps.T)).max() <= speed + 2**0.5  # each end is rounded by half a pixel a side
    long = path[5:] - path[:-5]  # over five frames it hardly turns
    assert np.hypot(*long.T).mean() == pytest.approx(5 * speed, rel=0.1)


def test_frames_of_a_pan_are_windows_of_the_image_and_its_reflection() -> None:
    pixels, reach = made_pixels(0), 7 * 6
    whole = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    frames = image_to_pan(pixels, 6, 8, 5)
    for frame, (row, column) in zip(frames, pan_path(6, 8, 5) + reach, strict=True):
        assert np.array_equal(frame.transpose(1, 2, 0), whole[row : row + SIDE, column : column + SIDE])
    assert image_to_pan(pixels[:1, :1], 1, 8, 5).shape == (8, 3, 1, 1)


def test_a_pan_at_speed_0_is_a_still_film(photos: Path) -> None:
    frames = frames_of(f"pan:0:5:{photos}")
    assert frames.shape == (5, 3, SIDE, SIDE)
    assert all(np.array_equal(frame, made_pixels(0).transpose(2, 0, 1)) for frame in frames)


def test_a_pan_may_be_as_fast_as_the_image_is_wide(photos: Path) -> None:
    assert frames_of(f"pan:{SIDE}:{photos}").shape == (8, 3, SIDE, SIDE)


def test_neighbouring_frames_differ_by_more_at_a_higher_speed() -> None:
    differences = []
    for speed in (0, 0.5, 1, 2, 4):
        frames = np.stack([image_to_pan(smooth_pixels(seed), speed, 8, seed) for seed in range(20)]).astype(int)
        differences.append(np.abs(np.diff(frames, axis=1)).mean())
    assert differences[0] == 0
    assert differences == sorted(set(differences))


def test_every_opening_of_a_pan_gives_the_same_frames(photos: Path) -> None:
    source = f"pan:2:{photos}"
    assert np.array_equal(frames_of(source), frames_of(source))
    splits = load_data(source)
    for split in (splits.train, splits.val):
        assert split.data.axes == (8, 3)
        pixels, _ = split.read(torch.arange(len(split)))
        assert all(
            np.array_equal(pixel, frames_of(source, name)) for pixel, name in zip(pixels, split.data.names, strict=True)
        )


def test_a_mirrored_pan_is_made_of_the_mirrored_image(photos: Path) -> None:
    data = load_data(f"pan:2:{photos}").train.data
    assert data.mirrored is not None
    number = int(Path(data.names[0]).stem)
    expected = image_to_pan(made_pixels(number)[:, ::-1], 2, 8, seed_of(data.names[0]))
    assert np.array_equal(np.asarray(data.mirrored(0)), expected)


def test_images_of_the_same_pixels_have_paths_of_their_own(tmp_path: Path) -> None:
    np.savez(tmp_path / "same.npz", images=np.stack([made_pixels(0)] * 8), labels=np.arange(8) % 2)
    (data,) = open_parts(f"pan:3:4:{tmp_path / 'same.npz'}", ("train", "val"), DataOptions()).values()
    frames = [np.asarray(data.item(row)) for row in range(8)]
    assert len({each[0].tobytes() for each in frames}) == 1
    assert len({each.tobytes() for each in frames}) == 8


@pytest.mark.parametrize(
    ("options", "told"),
    [("-1:", "SPEED"), ("9:", "SPEED"), ("nan:", "SPEED"), ("fast:", "SPEED"), ("1:0:", "T"), ("1:2.5:", "T")],
)
def test_an_option_of_pan_that_is_not_valid_is_named(options: str, told: str, photos: Path) -> None:
    with pytest.raises((InputError, CompositionError), match=told) as error:
        load_data(f"pan:{options}{photos}")
    assert options.split(":")[-2] in str(error.value)


@pytest.mark.parametrize(
    ("kind", "side"), [("scan", SIDE), pytest.param("scan:pixels", 1, marks=pytest.mark.slow), ("pan", SIDE)]
)
def test_a_spiking_network_trains_on_frames(kind: str, side: int, photos: Path, tmp_path: Path) -> None:
    source, out = f"{kind}:{photos}", tmp_path / "out"
    asked = ["--data", source, "--out", str(out), "--set", "epochs=1", "--batch-size", "8", "--precision", "float32"]
    done = CliRunner().invoke(app, ["train", "sew_resnetsmall_b2_m1_d1_frames", *asked])
    assert done.exit_code == 0, done.output
    model = zoo.create_model(f"local-dir:{out}").eval()
    frames = torch.from_numpy(frames_of(source).copy()).float() / 255
    assert model.input_axes == frames.shape[:2]
    assert frames.shape[-1] == side
    with model.streaming() as stream:
        answers = [stream(frame[None]) for frame in frames]
    assert torch.equal(answers[-1], model(frames[None]))
