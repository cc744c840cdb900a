"""A hybrid that starts from its control's weight, and the gradient of encoders made smaller."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import zoo
from tests.converters.published import copied, random_resnet
from tests.data.made_data import packed
from tests.hub.fixtures import hub
from tests.hub.loopback import LoopbackHub
from zoo.catalog import default_catalog
from zoo.cli import app
from zoo.contracts.encoder import Encoder
from zoo.errors import InputError, WeightError
from zoo.factory import OpenedModel, open_model
from zoo.hub.publish import control_of
from zoo.inference.compare import compare_models
from zoo.registry import parse_name
from zoo.training import load_data, measure_weight, train
from zoo.training.hooks import scaled_surrogates
from zoo.training.run import Beginning, build, opened_control

__all__ = ["hub"]

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
    begun = build(_open(HYBRID), load_data(data).train.classes, 1, _open(control))
    taken, fresh = zoo.create_model(control).state_dict(), build(_open(HYBRID), ("a", "b"), 1).model
    state = begun.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in taken.items())
    own = {key: value for key, value in fresh.state_dict().items() if key not in taken}
    assert own
    assert all(torch.equal(state[key], value) for key, value in own.items())  # spiking branches start as ever
    assert begun.sha256 == _open(control).weight.sha256


@pytest.mark.parametrize(
    ("analog", "spiking"),
    [("ann_resnet18", "sew_resnet18_phase"), ("ann_resnet_b2_m2_d1", "snn_resnet_b2_m2_d1_ste_bpd")],
)
def test_spikes_alone_take_all_layers_of_their_control(analog: str, spiking: str, tmp_path: Path) -> None:
    control = zoo.create_model(analog, num_classes=2)
    zoo.save(control, tmp_path / "control", labels=["a", "b"])
    begun = build(_open(spiking), ("a", "b"), 1, _open(f"local-dir:{tmp_path / 'control'}"))
    assert begun.notes[0].startswith(f"its layers start from {analog}")
    state = begun.model.state_dict()
    for key, value in control.state_dict().items():
        assert torch.equal(state[key if key in state else key.replace(".analog.", ".spiking.")], value), key


def test_a_run_says_what_it_started_from(control: str, data: Path) -> None:
    arguments = ["train", HYBRID, "--data", str(data), "--control", control, "--out", str(data.parent / "hybrid")]
    result = CliRunner().invoke(app, [*arguments, "--epochs", "1", "--batch-size", "8", "--precision", "no"])
    assert result.exit_code == 0, result.output
    assert "its analog branches and head start from ann_resnet_b2_m2_d1" in result.output
    again = CliRunner().invoke(app, [*arguments[:4], "--out", str(data.parent / "hybrid"), "--resume"])
    assert again.exit_code == 2
    assert "initial weights" in again.output  # another beginning is another run


@pytest.mark.slow
def test_the_record_names_the_control_and_it_is_the_one_that_is_shown(control: str, data: Path, tmp_path: Path) -> None:
    """Not the first weight of that network in the catalog, nor one that is not trained."""
    out = tmp_path / "hybrid"
    result = train(HYBRID, data, changes=QUICK, out=out, control=control, workers=0)
    begun = _open(control).weight
    assert (result.weight.control, result.weight.started_from) == (begun.name, begun.name)
    rows = compare_models([result.reference])
    assert [row.name for row in rows] == [result.weight.name, begun.name]
    assert rows[1].top1 == begun.metrics["top1"]
    measured = measure_weight(result.reference, data)
    assert f"is {begun.name}, which it started from" in " ".join(measured.notes)
    tuned = train(result.reference, data, changes=QUICK, out=tmp_path / "tuned", workers=0)
    assert (tuned.weight.control, tuned.weight.started_from) == ("", result.weight.name)


def test_a_control_that_changed_meanwhile_is_not_shown_as_that_which_it_started_from(
    control: str, data: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "control"
    shutil.copytree(data.parent / "control", moved)
    result = train(HYBRID, data, changes=QUICK, out=tmp_path / "hybrid", control=f"local-dir:{moved}", workers=0)
    shutil.rmtree(moved)
    train(CONTROL, data, changes=QUICK | {"seed": 5}, out=moved, tag="other", workers=0)
    assert [row.name for row in compare_models([result.reference])] == [result.weight.name, CONTROL]


def test_a_card_shows_the_control_that_the_record_names_or_none() -> None:
    named = default_catalog().weights["has8_resnet_b8_m2_d4_ste_bpd"][0].stored()
    record = named.model_copy(update={"control": ""})
    spec = parse_name(record.variant).tagged(record.tag)
    shown = control_of(record, spec)
    assert control_of(record.model_copy(update={"control": "ann_resnet_b8_m2_d4.elsewhere"}), spec) is None
    if shown is not None:
        assert control_of(record.model_copy(update={"control": shown.name}), spec) == shown


@pytest.mark.parametrize(
    ("name", "begun", "said"),
    [
        ("has8_resnet_b4_m2_d1_ste_bpd", None, "is not a control of has8_resnet_b4_m2_d1.*named by `zoo profile`"),
        ("sew_resnet_b4_m2_d1_direct", None, "is not a control of sew_resnet_b4_m2_d1_direct"),
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


WIDE = "has8_resnet_b64_m2_d4_ste_bpd"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ResNet-18 as timm saves one."""
    file = tmp_path_factory.mktemp("published") / "resnet18.safetensors"
    save_file(copied(random_resnet("resnet18")), file)
    return file


def _open(name: str, **places: Any) -> OpenedModel:
    return open_model(name, **places)


def _begin(control: str, name: str = WIDE, **family: float) -> Beginning:
    opened = _open(name, options={"family": dict(family)})
    with opened_control(control, opened) as begun_by:
        return build(opened, ("cat", "dog"), 1, begun_by)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made in this test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    return tmp_path / "temporary"


def test_a_published_checkpoint_is_a_control(published: Path, temporary: Path) -> None:
    begun = _begin(f"timm:{published}", gain=0.0)
    theirs = random_resnet("resnet18")
    theirs.reset_classifier(0)
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        features, expected = begun.model.eval().forward_head(begun.model.forward_features(x), True), theirs(x)
    assert (features - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert begun.model.pretrained_cfg["mean"] == (0.485, 0.456, 0.406)
    assert begun.model.pretrained_cfg["std"] == (0.229, 0.224, 0.225)
    assert begun.notes == (
        "its analog branches and head start from ann_resnet_b64_m2_d4.converted with a new head for 2 classes, "
        "converted from resnet18.safetensors",
    )
    assert list(temporary.iterdir()) == []
    assert _begin(f"torchvision:{published}").sha256 == begun.sha256


def test_a_gain_that_was_not_asked_for_stays_out_and_is_named(published: Path) -> None:
    begun = _begin(f"timm:{published}")
    assert begun.model.spec.options == {}
    assert "with --set-family gain=0 it would" in begun.notes[1]


def test_what_is_no_control_leaves_nothing(published: Path, temporary: Path) -> None:
    with pytest.raises(WeightError, match=r"absent\.pth"):
        _begin("timm:absent.pth")
    with pytest.raises(InputError, match="timm has no weights"):
        _begin("timm:resnet18.a99_in1k")
    with pytest.raises(InputError, match="is not a control of"):
        _begin(f"timm:{published}", HYBRID)
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_one_command_trains_from_timms_weights(hub: LoopbackHub, published: Path, data: Path, tmp_path: Path) -> None:
    commit = hub.put("timm/resnet18.a1_in1k", {"model.safetensors": published.read_bytes()})
    arguments = ["train", WIDE, "--data", str(data), "--control", "timm:resnet18.a1_in1k", "--out", str(tmp_path / "x")]
    arguments += ["--epochs", "1", "--batch-size", "8", "--precision", "no", "--limit-images", "8"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert f"converted from hf-hub:timm/resnet18.a1_in1k@{commit}/model.safetensors" in said
    assert "with --set-family gain=0 it would" in said
    trained = zoo.create_model(f"local-dir:{tmp_path / 'x'}")
    assert trained.pretrained_cfg["mean"] == (0.485, 0.456, 0.406)


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


@pytest.mark.slow
def test_a_recipe_sets_the_scale(data: Path, tmp_path: Path) -> None:
    weights = []
    for scale in (1.0, 0.01):
        settings = QUICK | {"surrogate_scale": scale}
        out = tmp_path / str(scale)
        train("has8_resnet_b2_m2_d1_fourier_bpd", load_data(data), changes=settings, out=out)
        weights.append(zoo.create_model(f"local-dir:{out}").state_dict()["stages.0.0.analog.conv.weight"])
    assert not torch.equal(*weights)


def test_spikes_alone_go_on_from_a_quantised_control(control: str, data: Path, tmp_path: Path) -> None:
    changes = QUICK | {"calibration": 8, "spike_penalty": 1.0, "ema": 0.5, "teacher": control}
    options = {"family": {"levels": 3}}
    quantised = train(
        CONTROL, data, changes=changes, out=tmp_path / "q", control=control, model_options=options, workers=0
    )
    assert quantised.weight.spec["options"] == options
    waiting = {"v_reset": None, "v_init": 0.5, "waits": True, "gradient": "rate"}
    size = CONTROL.removeprefix("ann_")
    spiking = train(
        f"sew_{size}_direct",
        data,
        changes=QUICK | {"learning_rate": 1e-12, "weight_decay": 0.0, "warmup_epochs": 0.0, "frozen_norms": True},
        out=tmp_path / "s",
        control=quantised.reference,
        model_options={"encoder": {"timesteps": 3}, "neuron": waiting},
        workers=0,
    )
    analog, spikes = (zoo.create_model(result.reference) for result in (quantised, spiking))
    taken = {key.replace(".analog.", ".spiking."): value for key, value in analog.state_dict().items()}
    for key, value in spikes.state_dict().items():  # statistics of batch norms too
        torch.testing.assert_close(value, taken[key])
    assert (spikes.timesteps, spiking.weight.spec["options"]["neuron"]) == (3, waiting)
    assert spiking.weight.control == quantised.weight.name


def test_a_spiking_twin_goes_on_from_its_control(control: str, data: Path, tmp_path: Path) -> None:
    size = CONTROL.removeprefix("ann_")
    result = train(f"snn_{size}_ste_bpd", data, changes=QUICK, out=tmp_path / "snn", control=control, workers=0)
    assert result.weight.started_from == _open(control).weight.name
