"""I2E's MS-ResNets: the kit, and a made checkpoint with the authors' keys that answers as the authors' network does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from i2e_checkpoint import T, made_frames, made_state
from torch import Tensor
from typer.testing import CliRunner
from zoo_events.msresnet import UndecayedLIF
from zoo_events.published import I2EConverter
from zoo_kit import FamilyTests

import zoo
from zoo.cli import app
from zoo.contracts import ImageClassifier
from zoo.errors import InputError, WeightError
from zoo.families.over_time import NetworkOverTime
from zoo.weights.load import read_config

AUTHORS_LOGITS = torch.tensor(json.loads((Path(__file__).parent / "i2e_logits.json").read_text("utf-8")))
"""As i2e_checkpoint.py prints them, of the network of Ruichen0424/I2E at 0e68d48."""


@pytest.mark.slow
class TestI2E(FamilyTests):
    name = "i2e"
    names = ("i2e_msresnet18",)
    image_size = 16


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return made_state()


@pytest.fixture
def model(state: dict[str, Tensor]) -> ImageClassifier:
    converted = I2EConverter().convert(state)
    model = zoo.create_model(converted.spec_name, num_classes=converted.num_classes, in_chans=converted.in_chans)
    model.load_state_dict(dict(converted.state))
    return model.eval()


def logits_of(model: ImageClassifier) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(made_frames())
    return logits


def test_converted_tensors_answer_as_the_authors_network_does(model: ImageClassifier) -> None:
    assert AUTHORS_LOGITS.std() > 0.1
    torch.testing.assert_close(logits_of(model), AUTHORS_LOGITS, rtol=0, atol=2e-6)


def test_frame_by_frame_it_answers_alike(model: ImageClassifier) -> None:
    with model.streaming() as stream:
        for frame in made_frames().unbind(1):
            so_far = stream(frame)
    assert torch.equal(so_far, logits_of(model))


def test_it_answers_after_every_timestep(model: ImageClassifier) -> None:
    assert isinstance(model, NetworkOverTime)
    with torch.no_grad():
        answers = model.answers_over_time(made_frames())
    with model.streaming() as stream:
        for frame, answer in zip(made_frames().unbind(1), answers, strict=True):
            torch.testing.assert_close(stream(frame), answer)


@pytest.mark.slow
def test_a_file_of_the_authors_script_becomes_a_folder_that_loads(state: dict[str, Tensor], tmp_path: Path) -> None:
    parallel = {f"module.{key}": value for key, value in state.items()}
    file, out = tmp_path / "cifar10.pth.tar", tmp_path / "out"
    torch.save({"epoch": 255, "state_dict": parallel, "best_acc1": torch.tensor(90.86)}, file)
    done = CliRunner().invoke(app, ["convert", "i2e", str(file), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "i2e:0.07:128:" in done.output
    model = zoo.create_model(f"local-dir:{out}").eval()
    torch.testing.assert_close(logits_of(model), AUTHORS_LOGITS, rtol=0, atol=2e-6)
    weight = read_config((out / "config.json").read_bytes(), "it")
    assert (model.spec["network"], model.timesteps, model.in_chans) == ("msresnet18", 8, 2)
    assert (weight.preprocessing.size, weight.license, weight.dataset) == (128, "not stated", "not stated")


def test_a_deeper_one_is_told_by_its_keys() -> None:
    converted = I2EConverter().convert(made_state((3, 4, 6, 3)))
    assert converted.spec_name == "i2e_msresnet34"
    model = zoo.create_model(converted.spec_name, num_classes=10, in_chans=2, device="meta")
    assert {key: value.shape for key, value in model.state_dict().items()} == {
        key: value.shape for key, value in converted.state.items()
    }


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"layer3.1.conv2.weight": None}, "layer3.1.conv2.weight"),
        ({"layer2.0.downsample.0.weight": torch.zeros(128, 64, 1, 1)}, "layer2.0.downsample.0.weight"),
        ({"conv1.weight": torch.zeros(64, 3, 7, 7)}, "conv1.weight"),
        ({"i2e.weight": None}, "i2e.weight"),
    ],
    ids=["missing", "unknown", "three channels", "without I2E"],
)
def test_what_does_not_fit_is_named(change: dict[str, Tensor | None], named: str, state: dict[str, Tensor]) -> None:
    changed = {key: value for key, value in (state | change).items() if value is not None}
    with pytest.raises(WeightError, match=named):
        I2EConverter().convert(changed)


def test_nothing_is_left_of_a_refused_checkpoint(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(10, 512)}, tmp_path / "other.pth")
    done = CliRunner().invoke(app, ["convert", "i2e", str(tmp_path / "other.pth"), "--out", str(tmp_path / "out")])
    assert done.exit_code != 0
    assert not (tmp_path / "out").exists()


def test_a_potential_halves_and_a_current_does_not() -> None:
    currents = torch.tensor([0.6, 0.6, 0.2, 0.9, 0.0, 2.0, 0.9])  # 0.6, 0.9, 0.65, 1.225, 0, 2, 0.9
    spikes = UndecayedLIF()(currents[:, None])
    assert spikes.flatten().tolist() == [0, 0, 0, 1, 0, 1, 0]


def test_a_reset_has_no_gradient() -> None:
    currents = torch.tensor([[1.5], [0.5]], requires_grad=True)
    UndecayedLIF()(currents)[1].sum().backward()
    assert currents.grad is not None
    assert currents.grad[1] != 0
    assert currents.grad[0] == 0  # after a spike nothing of the potential is left


@pytest.mark.parametrize("shape", [(1, 2, 32, 32), (1, T + 1, 2, 32, 32)], ids=["still", "a frame too many"])
def test_other_inputs_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="8"):
        zoo.create_model("i2e_msresnet18", num_classes=2, in_chans=2).eval()(torch.zeros(shape))
