"""A hybrid that starts from its control's weight, and the gradient of encoders made smaller."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import zoo
from tests.data.made_data import packed
from zoo.cli import app
from zoo.contracts.encoder import Encoder
from zoo.errors import InputError
from zoo.training import load_data, train
from zoo.training.hooks import scaled_surrogates
from zoo.training.start import build, find_beginning

CONTROL, HYBRID = "ann_resnet_b2_m2_d1", "has8_resnet_b2_m2_d1_ste_bpd"
QUICK = {"epochs": 1, "batch_size": 8, "precision": "no"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed(tmp_path_factory.mktemp("data") / "kinds.npz", 40)


@pytest.fixture(scope="module")
def control(data: Path) -> str:
    """A trained control."""
    return train(CONTROL, load_data(data), changes=QUICK, out=data.parent / "control").reference


def test_the_analog_branches_and_the_head_are_the_controls(control: str, data: Path) -> None:
    begun = build(find_beginning(HYBRID), load_data(data).train.classes, 1, find_beginning(control))
    taken, fresh = zoo.create_model(control).state_dict(), build(find_beginning(HYBRID), ("a", "b"), 1).model
    state = begun.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in taken.items())
    own = {key: value for key, value in fresh.state_dict().items() if key not in taken}
    assert own
    assert all(torch.equal(state[key], value) for key, value in own.items())  # spiking branches start as ever
    assert begun.initial_sha256 == find_beginning(control).weight.sha256


def test_a_run_says_what_it_started_from(control: str, data: Path) -> None:
    arguments = ["train", HYBRID, "--data", str(data), "--control", control, "--out", str(data.parent / "hybrid")]
    result = CliRunner().invoke(app, [*arguments, "--epochs", "1", "--batch-size", "8", "--precision", "no"])
    assert result.exit_code == 0, result.output
    assert "its analog branches and head start from ann_resnet_b2_m2_d1" in result.output
    again = CliRunner().invoke(app, [*arguments[:4], "--out", str(data.parent / "hybrid"), "--resume"])
    assert again.exit_code == 2
    assert "initial weights" in again.output  # another beginning is another run


@pytest.mark.parametrize(
    ("name", "begun", "said"),
    [
        ("has8_resnet_b4_m2_d1_ste_bpd", None, "is not a control of has8_resnet_b4_m2_d1.*named by `zoo profile`"),
        ("snn_resnet_b2_m2_d1_ste_bpd", None, "is not a control of snn_resnet_b2_m2_d1_ste_bpd"),
        (HYBRID, CONTROL, "has no weight to start from"),
    ],
)
def test_what_cannot_be_taken_over_is_named(name: str, begun: str | None, said: str, control: str, data: Path) -> None:
    with pytest.raises(InputError, match=said):
        train(name, load_data(data), changes=QUICK, out=data.parent / "wrong", control=begun or control)
    assert not (data.parent / "wrong").exists()


def test_a_weight_takes_no_control(control: str, data: Path) -> None:
    with pytest.raises(InputError, match="for networks that start afresh"):
        train(control, load_data(data), changes=QUICK, out=data.parent / "wrong", control=control)


def _input_gradient(model: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    encoder = next(module for module in model.modules() if isinstance(module, Encoder))
    x = x.clone().requires_grad_()
    (encoder(x) * torch.linspace(-1, 1, 8).reshape(8, 1, 1, 1, 1)).sum().backward()
    assert x.grad is not None
    return x.grad


def test_surrogates_are_scaled_inside_alone() -> None:
    model, x = zoo.create_model(HYBRID, num_classes=2), torch.rand(2, 3, 4, 4)
    before = _input_gradient(model, x)
    with scaled_surrogates(model, 0.25):
        inside = _input_gradient(model, x)
        with torch.no_grad():
            planes = next(m for m in model.modules() if isinstance(m, Encoder))(x)
    assert before.any()
    torch.testing.assert_close(inside, before / 4)
    assert torch.equal(_input_gradient(model, x), before)
    assert set(planes.unique().tolist()) == {0.0, 1.0}


def test_a_recipe_sets_the_scale(data: Path, tmp_path: Path) -> None:
    weights = []
    for scale in (1.0, 0.01):
        settings = QUICK | {"surrogate_scale": scale}
        out = tmp_path / str(scale)
        train("has8_resnet_b2_m2_d1_fourier_bpd", load_data(data), changes=settings, out=out)
        weights.append(zoo.create_model(f"local-dir:{out}").state_dict()["stages.0.0.analog.conv.weight"])
    assert not torch.equal(*weights)
