"""Inputs that have timesteps already: networks, profiles, pictures, files and data that take frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from zoo.data import DataOptions, load_data, load_split, open_frames, pack
from zoo.errors import CompositionError, InputError
from zoo.inference.compare import compare_models
from zoo.inference.evaluate import evaluate
from zoo.inference.predict import Prediction
from zoo.inference.show import draw, record
from zoo.training import train

NAMES = ("sew_resnetsmall_b2_m1_d1_frames", "snn_resnetsmall_b2_m1_d1_frames_rate_lif", "sew_resnet18_frames")
SMALL = NAMES[0]
FEW = {"epochs": 2, "batch_size": 8, "precision": "no", "warmup_epochs": 0}


def made_frames(count: int = 20, side: int = 16, timesteps: int = 4) -> np.ndarray:
    """Frames (N, T, 2, H, W) of a point that moves to the right (even rows) or to the left (odd rows)."""
    frames = np.zeros((count, timesteps, 2, side, side), np.uint8)
    for row in range(count):
        for t in range(timesteps):
            place = 3 * t if row % 2 == 0 else 3 * (timesteps - 1 - t)
            frames[row, t, t % 2, (row * 5) % (side - 2) :, place : place + 3] = 255
    return frames


def packed_frames(file: Path, count: int = 20) -> Path:
    np.savez(file, frames=made_frames(count), labels=np.arange(count) % 2, classes=np.array(["right", "left"]))
    return file


@pytest.mark.parametrize("name", NAMES)
def test_a_network_sees_each_frame_at_its_timestep(name: str) -> None:
    torch.manual_seed(0)
    model = zoo.create_model(name, num_classes=3, in_chans=2, encoder_options={"timesteps": 4})
    assert model.input_axes == (4, 2)
    x = torch.rand(2, 4, 2, 32, 32)
    logits = model(x)
    assert logits.shape == (2, 3)
    assert not torch.equal(logits, model(x.flip(1)))  # the order of frames matters to neurons that keep a potential
    model.eval()
    assert torch.equal(model.forward_stages(x, 0)[0], model.forward_intermediates(x, [0], intermediates_only=True)[0])


def test_direct_coding_is_the_same_frame_at_every_timestep() -> None:
    torch.manual_seed(0)
    frames = zoo.create_model(SMALL, num_classes=3, timesteps=4).eval()
    direct = zoo.create_model("sew_resnetsmall_b2_m1_d1_direct", num_classes=3, timesteps=4).eval()
    direct.load_state_dict(frames.state_dict())
    still = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(frames(still[:, None].expand(2, 4, 3, 16, 16)), direct(still))


@pytest.mark.parametrize("shape", [(2, 2, 16, 16), (2, 5, 2, 16, 16), (2, 4, 3, 16, 16), (4, 2, 16)])
def test_other_inputs_are_refused(shape: tuple[int, ...]) -> None:
    model = zoo.create_model(SMALL, in_chans=2, timesteps=4)
    with pytest.raises(InputError, match=r"4 frames .*N, 4, 2, H, W"):
        model(torch.rand(shape))


def test_a_network_of_stills_refuses_frames_and_says_what_takes_them() -> None:
    with pytest.raises(InputError, match="frames"):
        zoo.create_model("ann_resnetsmall_b2_m1_d1")(torch.rand(1, 4, 3, 16, 16))


@pytest.mark.parametrize("name", ["has8_resnet_b2_m1_d1_frames_rate", "snn_resnet_b2_m1_d1_frames_bpd"])
def test_blocks_that_take_time_away_do_not_go_with_frames(name: str) -> None:
    with pytest.raises(CompositionError):
        zoo.create_model(name)


def test_the_profile_counts_every_frame_and_a_control_on_their_mean() -> None:
    model = zoo.create_model(SMALL, num_classes=2, in_chans=2, timesteps=4)
    images = torch.from_numpy(made_frames(6)).float() / 255
    cost = zoo.profile(model, images=images)
    assert cost.control is not None
    assert (cost.timesteps, cost.macs_analog) == (4, cost.macs - cost.macs_spiking)
    assert cost.activity is not None
    assert cost.activity.synapses[0].operation == "AC"  # events are 0 and 1
    assert cost.control.activity is not None
    with pytest.raises(InputError):
        zoo.profile(model, images=images[:, 0])


def test_training_takes_frames_and_the_weight_knows_them(tmp_path: Path) -> None:
    data = packed_frames(tmp_path / "moves.npz", 40)
    result = train(SMALL, data, changes=FEW, out=tmp_path / "run", trackers=(), observers=[])
    model = zoo.create_model(result.reference).eval()
    assert model.input_axes == (4, 2)
    split = load_split(data, "val", classes=("right", "left"))
    assert evaluate(model, split).images == 40
    (column, _) = compare_models([result.reference], data, limit=4)
    assert column.figures.energy_uj
    (answer, *_) = zoo.predict(model, made_frames(3))
    assert isinstance(answer, Prediction)
    assert answer.label in ("right", "left")


def test_training_on_another_kind_of_input_writes_nothing(tmp_path: Path) -> None:
    data = packed_frames(tmp_path / "moves.npz")
    stills = (np.zeros((20, 16, 16, 3), np.uint8), np.arange(20) % 2)
    for name, source in (("ann_resnetsmall_b2_m1_d1", data), (SMALL, stills)):
        with pytest.raises(InputError):
            train(name, source, changes=FEW, out=tmp_path / "run", trackers=(), observers=[])
        assert not (tmp_path / "run" / "model.safetensors").exists()


def test_colours_of_events_are_not_changed(tmp_path: Path) -> None:
    data = packed_frames(tmp_path / "moves.npz")
    with pytest.raises(InputError, match="randaugment"):
        train(SMALL, data, changes={**FEW, "randaugment": 2}, out=tmp_path / "run", trackers=(), observers=[])


def test_mixing_and_moving_treat_all_frames_alike(tmp_path: Path) -> None:
    data = packed_frames(tmp_path / "moves.npz")
    changes = {**FEW, "cutmix": 1.0, "channels_last": True, "crop_share": 0.8}
    assert train(SMALL, data, changes=changes, out=tmp_path / "run", trackers=(), observers=[]).evaluation.images


def test_frames_are_packed_resized_and_read_again(tmp_path: Path) -> None:
    data = packed_frames(tmp_path / "moves.npz")
    told = pack(data, tmp_path / "small.npz", DataOptions(image_size=8))
    assert told["image_size"] == 8
    splits = load_data(tmp_path / "small.npz")
    assert splits.train.pixels is not None
    assert splits.train.pixels.shape == (16, 4, 2, 8, 8)


def test_arrays_that_are_no_frames_are_refused() -> None:
    for wrong in (np.zeros((4, 4, 2, 8, 8), np.float32), np.zeros((4, 4, 17, 8, 8), np.uint8), np.zeros((4, 8, 8))):
        with pytest.raises(InputError):
            open_frames(wrong, [0, 1, 0, 1])


def test_the_picture_shows_the_frames() -> None:
    model = zoo.create_model(SMALL, num_classes=2, in_chans=2, timesteps=4).eval()
    frames = torch.from_numpy(made_frames(1)[0]).float() / 255
    seen = record(model, frames)
    assert seen.planes.shape == (4, 3, 16, 16)
    assert torch.equal(seen.planes[:, :2], frames)
    torch.testing.assert_close(seen.image[:2], frames.mean(0))
    assert draw(seen, "frames").size[0] == 1200


def test_a_saved_network_keeps_its_number_of_frames(tmp_path: Path) -> None:
    model = zoo.create_model(SMALL, num_classes=2, in_chans=2, timesteps=5).eval()
    zoo.save(model, tmp_path / "saved", image_size=16)
    loaded = zoo.create_model(f"local-dir:{tmp_path / 'saved'}").eval()
    x = torch.rand(1, 5, 2, 16, 16)
    assert torch.equal(loaded(x), model(x))
