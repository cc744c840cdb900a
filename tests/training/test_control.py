"""A network that starts from its control's weight, and the gradient of encoders made smaller."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import zoo
from tests.data.made_data import packed
from zoo.contracts.encoder import Encoder
from zoo.data import DataSplits
from zoo.errors import InputError, ModelNameError
from zoo.inference.compare import compare_models
from zoo.models.factory import open_model
from zoo.training import TrainingResult, load_data, train
from zoo.training.hooks import scaled_surrogates
from zoo.training.start import build

CONTROL, HYBRID = "ann_resnet_b2_m2_d1", "has8_resnet_b2_m2_d1_ste_bpd"
QUICK = {"epochs": 1, "batch_size": 8, "precision": "no"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSplits:
    return load_data(packed(tmp_path_factory.mktemp("data") / "kinds.npz", 20))


@pytest.fixture(scope="module")
def control(data: DataSplits, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A trained control."""
    return train(CONTROL, data, changes=QUICK, out=tmp_path_factory.mktemp("runs") / "control")


def test_the_analog_branches_and_the_head_are_the_controls(control: TrainingResult) -> None:
    begun = build(open_model(HYBRID), control.weight.labels, 1, open_model(control.reference))
    taken, fresh = zoo.create_model(control.reference).state_dict(), build(open_model(HYBRID), ("a", "b"), 1).model
    state = begun.model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in taken.items())
    own = {key: value for key, value in fresh.state_dict().items() if key not in taken}
    assert own
    assert all(torch.equal(state[key], value) for key, value in own.items())  # spiking branches start as ever
    assert (begun.sha256, begun.control) == (control.weight.sha256, control.weight.name)


@pytest.mark.parametrize(("classes", "kept"), [(("dark", "bright"), True), (("bright", "dark"), False)])
def test_the_head_is_kept_for_the_same_classes_alone(
    control: TrainingResult, classes: tuple[str, ...], kept: bool
) -> None:
    before = zoo.create_model(control.reference).get_parameter("head.fc.weight")
    after = build(open_model(control.reference), classes, 1).model.get_parameter("head.fc.weight")
    assert torch.equal(before, after) == kept


@pytest.mark.parametrize(
    ("analog", "spiking"),
    [("ann_resnet18", "sew_resnet18_phase"), ("ann_resnet_b2_m2_d1", "snn_resnet_b2_m2_d1_ste_bpd")],
)
def test_spikes_alone_take_all_layers_of_their_control(analog: str, spiking: str, tmp_path: Path) -> None:
    control = zoo.create_model(analog, num_classes=2)
    zoo.save(control, tmp_path / "control", labels=["a", "b"])
    begun = build(open_model(spiking), ("a", "b"), 1, open_model(f"local-dir:{tmp_path / 'control'}"))
    assert begun.notes[0].startswith(f"starts from {analog}")
    state = begun.model.state_dict()
    for key, value in control.state_dict().items():
        assert torch.equal(state[key if key in state else key.replace(".analog.", ".spiking.")], value), key


def test_the_record_names_the_control_and_a_comparison_takes_it(
    control: TrainingResult, data: DataSplits, tmp_path: Path
) -> None:
    result = train(HYBRID, data, changes=QUICK, out=tmp_path / "hybrid", control=control.reference)
    assert (result.weight.control, result.weight.started_from) == (control.weight.name, control.weight.name)
    assert "starts from ann_resnet_b2_m2_d1" in result.weight.recipe
    with pytest.raises(InputError, match="initial weights"):  # another beginning is another run
        train(HYBRID, data, changes=QUICK, out=tmp_path / "hybrid", resume=True)
    names = [row.name for row in compare_models([result.reference, control.reference])]
    assert names == [result.weight.name, control.weight.name]
    assert [row.name for row in compare_models([result.reference])] == [result.weight.name, CONTROL]
    tuned = train(result.reference, data, changes=QUICK, out=tmp_path / "tuned")
    assert (tuned.weight.control, tuned.weight.started_from) == ("", result.weight.name)


def test_a_run_from_a_weight_has_its_own_name_and_tells_of_all_before(
    control: TrainingResult, data: DataSplits, tmp_path: Path
) -> None:
    second = train(control.reference, data, changes=QUICK, out=tmp_path / "second")
    other = train(second.reference, data, changes=QUICK, out=tmp_path / "other", tag="other")
    third = train(other.reference, data, changes=QUICK, out=tmp_path / "third")
    tags = [run.weight.tag for run in (control, second, other, third)]
    assert tags == ["trained", "trained-2", "other", "trained-3"]
    assert third.weight.dataset == "trained"
    for before in (control, second, other):
        assert f"{before.weight.name} was trained on {before.weight.dataset} by " in third.weight.recipe
    with pytest.raises(ModelNameError, match="tag=trained-4"):
        train(third.reference, data, changes=QUICK, out=tmp_path / "fourth", tag="trained")
    assert not (tmp_path / "fourth").exists()


@pytest.mark.parametrize("name", ["has8_resnet_b4_m2_d1_ste_bpd", "sew_resnet_b4_m2_d1_direct"])
def test_a_control_of_another_network_is_refused(name: str, control: TrainingResult) -> None:
    with pytest.raises(InputError, match=f"not a control of {name}"):
        build(open_model(name), ("a", "b"), 1, open_model(control.reference))


def test_only_a_weight_is_a_control_and_only_a_fresh_network_has_one(control: TrainingResult) -> None:
    with pytest.raises(InputError, match="no weight"):
        build(open_model(HYBRID), ("a", "b"), 1, open_model(CONTROL))
    with pytest.raises(InputError, match="`control`"):
        build(open_model(control.reference), ("a", "b"), 1, open_model(control.reference))


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


def test_spikes_alone_go_on_from_a_quantised_control(control: TrainingResult, data: DataSplits, tmp_path: Path) -> None:
    changes = QUICK | {"calibration": 8, "spike_penalty": 1.0, "ema": 0.5, "teacher": control.reference}
    options = {"family": {"levels": 3}}
    quantised = train(
        CONTROL, data, changes=changes, out=tmp_path / "q", control=control.reference, model_options=options
    )
    assert quantised.weight.spec["options"] == options
    waiting = {"v_reset": None, "v_init": 0.5, "waits": True, "gradient": "rate"}
    spiking = train(
        f"sew_{CONTROL.removeprefix('ann_')}_direct",
        data,
        changes=QUICK | {"learning_rate": 1e-12, "weight_decay": 0.0, "warmup_epochs": 0.0, "frozen_norms": True},
        out=tmp_path / "s",
        control=quantised.reference,
        model_options={"encoder": {"timesteps": 3}, "neuron": waiting},
    )
    analog, spikes = (zoo.create_model(result.reference) for result in (quantised, spiking))
    taken = {key.replace(".analog.", ".spiking."): value for key, value in analog.state_dict().items()}
    for key, value in spikes.state_dict().items():  # statistics of batch norms too
        torch.testing.assert_close(value, taken[key])
    assert (spikes.timesteps, spiking.weight.spec["options"]["neuron"]) == (3, waiting)
    assert spiking.weight.control == quantised.weight.name
