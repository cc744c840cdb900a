"""Training: settings as data, and runs that go on where they stopped."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from made_data import packed

import zoo
from zoo.errors import CatalogError, InputError
from zoo.training.datasets import ImageSplit, load_split
from zoo.training.loop import Training, evaluate, save_weights
from zoo.training.recipes import Recipe, load_recipe, recipe_names
from zoo.training.release import record_run

NAME = "has8_resnet_b2_m2_d1_ste_bpd"


@pytest.fixture(autouse=True)
def _accelerate_afresh() -> Iterator[None]:
    """accelerate keeps its precision for a whole process; every test may choose its own."""
    AcceleratorState._reset_state(True)
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture
def data(tmp_path: Path) -> ImageSplit:
    return load_split(packed(tmp_path / "train.npz"), "train")


def _recipe(**changes: object) -> Recipe:
    settings = load_recipe("bundled").model_dump() | {"epochs": 3, "batch_size": 8, "precision": "no"}
    return Recipe.model_validate(settings | changes)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(data: ImageSplit, tmp_path: Path) -> None:
    finals = []
    for stops in ((3,), (1, 1, 1)):
        out = tmp_path / str(len(stops))
        for epochs in stops:
            torch.manual_seed(1)
            model = zoo.create_model(NAME, num_classes=2)
            run = Training(model, data, _recipe(), out)
            assert run.resume() == (out / "last.pt").exists()
            for _ in range(epochs):
                run.run_epoch(lambda row: None)
                run.save()
        assert run.epoch == 3
        assert not list(out.glob("*.tmp"))
        finals.append(model.state_dict())
    for key, value in finals[0].items():
        assert torch.equal(value, finals[1][key]), key


def test_a_run_does_not_go_on_with_other_settings(data: ImageSplit, tmp_path: Path) -> None:
    Training(zoo.create_model(NAME, num_classes=2), data, _recipe(), tmp_path).save()
    other = Training(zoo.create_model(NAME, num_classes=2), data, _recipe(epochs=9, seed=1), tmp_path)
    with pytest.raises(InputError, match="made with another epochs, seed"):
        other.resume()
    renamed = zoo.create_model(NAME.replace("ste_bpd", "fourier_rate"), num_classes=2)
    with pytest.raises(InputError, match="made with another model"):
        Training(renamed, data, _recipe(), tmp_path).resume()
    with pytest.raises(InputError, match="24 images are less than one batch of 32"):
        Training(renamed, data, _recipe(batch_size=32), tmp_path)


def test_training_learns_and_saves_what_it_learned(data: ImageSplit, tmp_path: Path) -> None:
    torch.manual_seed(1)
    rows: list[dict[str, float]] = []
    model = Training(zoo.create_model(NAME, num_classes=2), data, _recipe(epochs=30, learning_rate=0.01), tmp_path).run(
        rows.append
    )
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["epoch"] == 30
    metrics = evaluate(model, data, top=2)
    assert metrics["top1"] > 90
    assert metrics["top2"] == 100
    save_weights(model, tmp_path / "model.safetensors")
    from safetensors.torch import load_file

    again = zoo.create_model(NAME, num_classes=2)
    again.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    assert evaluate(again, data, top=2) == metrics


def test_a_trained_model_computes_in_float32_again(data: ImageSplit, tmp_path: Path) -> None:
    recipe = _recipe(epochs=1, precision="bf16")
    model = Training(zoo.create_model(NAME, num_classes=2), data, recipe, tmp_path).run(lambda row: None)
    seen = []
    model.get_submodule("stages.0.0.analog.conv").register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    evaluate(model, data)
    assert set(seen) == {torch.float32}


def test_settings_reach_the_optimiser_and_the_schedule(data: ImageSplit, tmp_path: Path) -> None:
    recipe = _recipe(learning_rate=0.01, weight_decay=0.5, optimizer="sgd", epochs=4, warmup_epochs=1)
    run = Training(zoo.create_model(NAME, num_classes=2), data, recipe, tmp_path)
    assert {group["weight_decay"] for group in run.optimizer.param_groups} == {0.5, 0.0}  # norms and biases are spared
    rates = []
    for step in range(1, 4 * run.steps + 1):
        run.schedule.step_update(step)
        rates.append(run.optimizer.param_groups[0]["lr"])
    # Half a cosine over the whole run, its first epoch replaced by a linear rise.
    assert rates.index(max(rates)) == run.steps - 1
    for step in range(run.steps, 4 * run.steps):
        expected = 0.01 * (1 + math.cos(math.pi * step / (4 * run.steps))) / 2
        assert rates[step - 1] == pytest.approx(expected, rel=1e-6)


def test_recipes_are_checked() -> None:
    assert "bundled" in recipe_names()
    with pytest.raises(CatalogError, match="unknown recipe 'bundle'; did you mean 'bundled'"):
        load_recipe("bundle")
    with pytest.raises(ValueError, match="epochs"):
        _recipe(epochs=0)
    with pytest.raises(ValueError, match="extra"):
        _recipe(surprise=1)


def test_a_finished_run_becomes_a_catalog_record(data: ImageSplit, tmp_path: Path) -> None:
    facts = {
        "license": "mit",
        "dataset": "made",
        "dataset_license": "none",
        "dataset_attribution": "nobody",
        "dataset_note": "",
    }
    source = "package:made/made.safetensors"
    with pytest.raises(InputError, match="is no finished run"):
        record_run(tmp_path, "made", source, data, facts)
    model = zoo.create_model(NAME, num_classes=2)
    save_weights(model, tmp_path / "model.safetensors")
    summary = {"name": NAME, "recipe": "bundled", "settings": {"epochs": 3, "seed": 5}, "metrics": {}}
    (tmp_path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    record = record_run(tmp_path, "made", source, data, facts)
    assert record.name == NAME + ".made"
    assert record.size == (tmp_path / "model.safetensors").stat().st_size
    assert record.labels == ("dark", "bright")
    assert (record.epochs, record.seed, record.preprocessing.size) == (3, 5, 16)
    assert record.figures.params == sum(p.numel() for p in model.parameters())
    assert record.metrics["top1"] == pytest.approx(evaluate(model, data, top=2)["top1"])
    assert record.providers.keys() == {"has8-zoo"}
