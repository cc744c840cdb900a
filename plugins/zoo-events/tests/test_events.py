"""Recordings in their publishers' formats, events of still images, and an answer over time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from tonic.transforms import ToFrame
from zoo_events import answers_over_time, draw_answers, image_to_events, to_frames
from zoo_events.frames import FULL
from zoo_events.i2e import MOVEMENTS
from zoo_events.recordings import structured
from zoo_kit import suites_of

import zoo
from zoo.data import DataOptions, load_data
from zoo.data.load import open_parts
from zoo.errors import CompositionError, InputError
from zoo.training.batches import make_plan, read_epoch
from zoo.training.recipe import load_recipe

globals().update(suites_of("zoo-events"))

COUNT = 400


def made_events(seed: int, width: int, height: int) -> dict[str, np.ndarray]:
    """Events of a point that moves over a sensor, in the order of time."""
    draw = np.random.default_rng(seed)
    t = np.sort(draw.integers(0, 60_000, COUNT))
    x = (t * width // 60_001 + draw.integers(-2, 3, COUNT)).clip(0, width - 1)
    return {"x": x, "y": draw.integers(0, height, COUNT), "t": t, "p": draw.integers(0, 2, COUNT)}


def write_bin(file: Path, e: dict[str, np.ndarray]) -> None:
    """N-MNIST's and N-Caltech101's five bytes an event."""
    third = e["p"] << 7 | e["t"] >> 16
    np.stack((e["x"], e["y"], third, e["t"] >> 8 & 255, e["t"] & 255), 1).astype(np.uint8).tofile(file)


def write_aedat(file: Path, e: dict[str, np.ndarray]) -> None:
    """AEDAT 2.0 of a DVS128: pairs of address and time, behind a header."""
    address = (127 - e["x"]) << 8 | (127 - e["y"]) << 1 | (1 - e["p"])
    words = np.stack((address, e["t"]), 1).astype(">u4").tobytes()
    file.write_bytes(b"#!AER-DAT2.0\r\n# raw address, timestamp\r\n" + words)


def write_npz(file: Path, e: dict[str, np.ndarray]) -> None:
    np.savez(file, x=e["x"], y=e["y"], t=e["t"], p=e["p"])


def write_npy(file: Path, e: dict[str, np.ndarray]) -> None:
    """tonic's DVS128 Gesture: rows of x, y, p and milliseconds."""
    np.save(file, np.stack((e["x"], e["y"], e["p"], e["t"] / 1000), 1))


SETS: dict[str, tuple[Any, str, tuple[int, int], tuple[str, ...]]] = {
    "cifar10dvs": (write_aedat, "{label}/{row}.aedat", (128, 128), ("",)),
    "dvs128gesture": (write_npy, "user{row}_led/{number}.npy", (128, 128), ("ibmGestureTrain", "ibmGestureTest")),
    "ncaltech101": (write_bin, "{label}/image_{row}.bin", (240, 180), ("",)),
    "nmnist": (write_bin, "{number}/{row}.bin", (34, 34), ("Train", "Test")),
}


def made_set(root: Path, name: str) -> None:
    write, form, (width, height), splits = SETS[name]
    for split in splits:
        for row in range(6):
            file = root / name / split / form.format(label=("cat", "dog")[row % 2], number=row % 2, row=row)
            file.parent.mkdir(parents=True, exist_ok=True)
            write(file, made_events(row, width, height))


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_read_in_its_own_format(name: str, tmp_path: Path) -> None:
    made_set(tmp_path, name)
    width, height = SETS[name][2]
    parts = open_parts(f"{name}:5", ("train", "val"), DataOptions(root=tmp_path))
    data = next(iter(parts.values()))
    assert (len(data), len(data.classes), data.axes) == (6, 2, (5, 2))
    first = np.asarray(data.item(0))
    row = int(re.findall(r"(\d+)(?:_led)?[./]", data.names[0])[0 if name == "dvs128gesture" else -1])
    events = made_events(row, width, height)
    if name == "dvs128gesture":
        events = made_events(int(re.findall(r"user(\d+)", data.names[0])[0]), width, height)
    expected = to_frames(structured(**events), width, height, 5)
    assert np.array_equal(first, expected)
    assert first.shape == (5, 2, height, width)
    splits = load_data(f"{name}:5", DataOptions(root=tmp_path, image_size=32))
    assert splits.train.pixels is not None
    assert splits.train.pixels.shape[1:] == (5, 2, 32, 32)


def test_spikingjellys_files_are_read_too(tmp_path: Path) -> None:
    for row in range(4):
        file = tmp_path / "cifar10dvs" / ("cat", "dog")[row % 2] / f"{row}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_npz(file, made_events(row, 128, 128))
    (data,) = open_parts("cifar10dvs:4,time", ("train",), DataOptions(root=tmp_path)).values()
    expected = to_frames(structured(**made_events(0, 128, 128)), 128, 128, 4, "time")
    assert np.array_equal(np.asarray(data.item(0)), expected)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A recording of N-MNIST, the first of its part."""
    made_set(tmp_path, "nmnist")
    return tmp_path / "nmnist" / "Test" / "0" / "0.bin"


def first_frames(recording: Path) -> np.ndarray:
    """Frames of the first recording of the part, as the data set gives them."""
    (data,) = open_parts("nmnist:5", ("val",), DataOptions(root=recording.parents[3])).values()
    return np.array(data.item(0))


def kept_file(recording: Path) -> Path:
    (kept,) = (recording.parents[2] / "frames").rglob("*.npz")
    return kept


def test_frames_are_kept(recording: Path) -> None:
    before = first_frames(recording)
    with np.load(kept_file(recording)) as stored:
        key = stored["key"]
    np.savez(kept_file(recording), frames=np.zeros_like(before), key=key)
    assert not first_frames(recording).any()


def test_a_replaced_recording_of_the_same_size_is_read_again(recording: Path) -> None:
    before, state = first_frames(recording), recording.stat()
    write_bin(recording, made_events(9, 34, 34))
    os.utime(recording, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert recording.stat().st_size == state.st_size
    assert not np.array_equal(first_frames(recording), before)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", None], ids=["empty", "cut", "another size"])
def test_frames_that_do_not_fit_are_made_again(recording: Path, content: bytes | None) -> None:
    before, kept = first_frames(recording), kept_file(recording)
    if content is None:
        with np.load(kept) as stored:
            np.savez(kept, frames=before[..., :-1], key=stored["key"] - [0, 0, 0, 0, 0, 1])
    else:
        kept.write_bytes(content)
    assert np.array_equal(first_frames(recording), before)


def test_a_damaged_recording_is_named(tmp_path: Path) -> None:
    made_set(tmp_path, "nmnist")
    (tmp_path / "nmnist" / "Train" / "0" / "0.bin").write_bytes(b"")
    splits = load_data("nmnist:5", DataOptions(root=tmp_path))
    assert any("0.bin" in name for name in splits.train.damaged)


@pytest.mark.parametrize("source", ["nmnist", "nmnist:none", "i2e", "summed", "stacked", "i2e:nowhere"])
def test_data_that_cannot_be_used_say_why(source: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        load_data(source, DataOptions(root=tmp_path))


def test_frames_count_events() -> None:
    events = structured([3, 3, 3, 3, 0, 9, 3, 3], [1, 1, 1, 1, 0, 0, 1, 1], range(8), [1, 1, 1, 1, 0, 0, 1, 1])
    frames = to_frames(events, 4, 2, 1)
    assert frames.shape == (1, 2, 2, 4)
    assert frames[0, 1, 1, 3] == 255  # six events are as bright as FULL
    assert frames[0, 0, 0, 0] == 255 // FULL
    with pytest.raises(ValueError, match="fewer"):
        to_frames(events, 4, 2, 20)


@pytest.mark.parametrize("by", ["events", "time"])
def test_frames_are_those_of_tonic(by: Literal["events", "time"]) -> None:
    events = structured(**made_events(3, 20, 12))
    split = {"n_event_bins": 7} if by == "events" else {"n_time_bins": 7}
    counts = ToFrame(sensor_size=(20, 12, 2), **split)(events)
    assert np.array_equal(to_frames(events, 20, 12, 7, by), np.minimum(counts, FULL) * 255 // FULL)


def test_polarities_may_be_signed_and_places_outside() -> None:
    events = made_events(0, 16, 16)
    plain = to_frames(structured(**events), 16, 16, 4)
    assert np.array_equal(to_frames(structured(**events | {"p": 2 * events["p"] - 1}), 16, 16, 4), plain)
    with pytest.raises(ValueError, match="2"):
        to_frames(structured(**events | {"p": events["p"] + 1}), 16, 16, 4)
    x, y, t, p = (np.concatenate((axis, axis)) for axis in events.values())
    x[COUNT:] -= 16
    order = np.argsort(t, kind="stable")
    assert np.array_equal(to_frames(structured(x[order], y[order], t[order], p[order]), 16, 16, 4), plain)


def test_times_keep_their_unit_and_must_rise() -> None:
    events = made_events(0, 16, 16)
    plain = to_frames(structured(**events), 16, 16, 4, "time")
    seconds = to_frames(structured(**events | {"t": events["t"] / 1e6}), 16, 16, 4, "time")
    assert seconds.any((1, 2, 3)).all()
    assert (seconds != plain).mean() < 0.01  # of events at the edge of a part
    for t in (events["t"][::-1], np.full(COUNT, 7), np.full(COUNT, np.nan)):
        with pytest.raises(ValueError, match="time"):
            to_frames(structured(**events | {"t": t}), 16, 16, 4, "time")


def test_images_are_mirrored_before_their_events_are_made(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "noise.npz", images=images, labels=np.arange(20) % 2)
    data = load_data(f"i2e:{tmp_path / 'noise.npz'}").train
    recipe = load_recipe("fast", {"flip": True, "max_shift": 0})
    ((batch,),) = read_epoch(data, make_plan(len(data), len(data), 1, 0), recipe, range(1), 0)
    known = [image_to_events(view).tobytes() for image in images for view in (image, image[:, ::-1])]
    places = [known.index(frames.numpy().tobytes()) for frames in batch.pixels]
    assert {place % 2 for place in places} == {0, 1}


def test_events_are_changes_of_brightness_along_each_movement() -> None:
    pixels = np.zeros((6, 6, 3), np.uint8)
    pixels[2:4, 2:4, 1] = 200
    events = image_to_events(pixels)
    assert events.shape == (8, 2, 6, 6)
    to_the_right = MOVEMENTS.index(((0, 0), (0, 1)))
    assert np.argwhere(events[to_the_right, 0]).tolist() == [[2, 1], [3, 1]]  # it gets brighter where the square comes
    assert np.argwhere(events[to_the_right, 1]).tolist() == [[2, 3], [3, 3]]
    assert not image_to_events(np.full((5, 5, 3), 90, np.uint8)).any()
    faint = pixels.copy()
    faint[0, 0] = 20
    assert image_to_events(faint, 0.05).sum() > image_to_events(faint, 0.2).sum()


def test_images_are_enlarged_before_their_events_are_made(tmp_path: Path) -> None:
    for label in ("one", "two"):
        (tmp_path / label).mkdir()
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 256, (8, 12, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / label / f"{number}.png")
    (data,) = open_parts(f"i2e:0.07:24:{tmp_path}", ("train", "val"), DataOptions()).values()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3)).astype(np.uint8)
    large = torch.nn.functional.interpolate(
        torch.from_numpy(pixels).permute(2, 0, 1)[None].float(), size=(24, 24), mode="bilinear"
    )
    expected = image_to_events(large.round().byte()[0].permute(1, 2, 0).numpy(), 0.07)
    first = np.asarray(data.item(data.names.index("one/0.png")))
    assert first.shape == (8, 2, 24, 24)
    assert (first != expected).mean() < 0.01  # of values that lie between two levels
    with pytest.raises(zoo.errors.CompositionError, match="pixels"):
        open_parts(f"i2e:0.07:0:{tmp_path}", ("train",), DataOptions())


def test_summed_frames_are_images_for_the_control(tmp_path: Path) -> None:
    np.savez(tmp_path / "moves.npz", frames=np.full((8, 4, 2, 8, 8), 100, np.uint8), labels=np.arange(8) % 2)
    splits = load_data(f"summed:{tmp_path / 'moves.npz'}")
    assert splits.train.pixels is not None
    assert splits.train.pixels.shape[1:] == (2, 8, 8)
    assert set(splits.train.pixels.flatten().tolist()) == {100}


def frames_of(source: str) -> np.ndarray[Any, Any]:
    """Return the second item of data."""
    (part,) = open_parts(source, (), DataOptions()).values()
    levels = np.asarray(part.item(1))
    assert levels.shape == (*part.axes, 3, 4)
    return levels


def test_frames_are_combined_in_their_order(tmp_path: Path) -> None:
    moves = tmp_path / "moves.npz"
    frames = np.arange(8 * 4 * 2, dtype=np.uint8).reshape(8, 4, 2, 1, 1).repeat(3, 3).repeat(4, 4)
    np.savez(moves, frames=frames, labels=np.arange(8) % 2)
    assert frames_of(f"stacked:{moves}")[:, 0, 0].tolist() == list(range(8, 16))
    assert frames_of(f"stacked:2:{moves}")[..., 0, 0].tolist() == [[8, 9, 10, 11], [12, 13, 14, 15]]
    assert frames_of(f"summed:2:{moves}")[..., 0, 0].tolist() == [[9, 10], [13, 14]]
    for source in ("summed:3", "stacked:0", "stacked:5", "stacked:two", "summed:2:2"):
        with pytest.raises((InputError, CompositionError), match=source.split(":")[0]):
            open_parts(f"{source}:{moves}", (), DataOptions())


def test_a_stack_of_three_channels_is_an_image_in_colours(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (8, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "colours.npz", images=colours, labels=np.arange(8) % 2)
    plain, stacked = (load_data(f"{prefix}{tmp_path / 'colours.npz'}").train for prefix in ("", "stacked:scan:1:"))
    assert plain.pixels is not None
    assert stacked.pixels is not None
    assert torch.equal(plain.pixels, stacked.pixels)


def test_an_answer_over_time_is_drawn() -> None:
    torch.manual_seed(0)
    model = zoo.create_model("sew_resnetsmall_b2_m1_d1_frames", num_classes=3, in_chans=2, timesteps=6).eval()
    frames = (torch.rand(6, 2, 16, 16) > 0.8).float()
    answers = answers_over_time(model, frames)
    assert answers.shape == (6, 3)
    torch.testing.assert_close(answers.sum(1), torch.ones(6))
    torch.testing.assert_close(answers[-1], model(frames[None]).softmax(1)[0].detach())
    picture = draw_answers(frames, answers, ("one", "two", "three"), "noise")
    assert isinstance(picture, Image.Image)
    assert len(picture.getcolors(1 << 20) or ()) > 8


def test_there_is_no_answer_before_the_first_frame() -> None:
    model = zoo.create_model("sew_resnetsmall_b2_m1_d1_frames", num_classes=3, in_chans=2, timesteps=6).eval()
    assert answers_over_time(model, torch.zeros(1, 2, 16, 16)).shape == (1, 3)
    for frames in (torch.zeros(0, 2, 16, 16), torch.zeros(2, 16, 16)):
        with pytest.raises(InputError, match="frame"):
            answers_over_time(model, frames)


def test_names_of_classes_lie_beside_the_lines_and_apart() -> None:
    probabilities = torch.tensor([[0.4, 0.3, 0.3], [0.5, 0.3, 0.2], [0.34, 0.33, 0.33]])
    picture = draw_answers(torch.zeros(3, 2, 8, 8), probabilities, ("one", "two", "three"), "even")
    right = np.asarray(picture)[:, -200:]
    rows = []
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)):
        seen = np.flatnonzero((right == colour).all(2).any(1))
        assert 0 < np.ptp(seen) < 24  # a line of text, and no curve
        rows.append(set(seen.tolist()))
    assert not rows[0] & rows[1]
    assert not rows[1] & rows[2]


README = Path(__file__).parents[1] / "README.md"


@pytest.mark.slow
def test_the_page_runs_as_it_is_written(tmp_path: Path) -> None:
    blocks = re.findall(r"<!-- run: (\w+) -->\n```\w+\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 4
    for kind, text in blocks:
        zoo_command = f"{sys.executable} -m zoo"
        command = (
            [sys.executable, "-c", text]
            if kind == "python"
            else ["bash", "-ec", re.sub(r"^zoo", zoo_command, text, flags=re.M)]
        )
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "answer.png").is_file()
