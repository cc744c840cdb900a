"""Recipes: what the paper did, read off the built objects; and files that say what is wrong with them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import yaml
from timm.scheduler.scheduler import Scheduler

import zoo
from tests.data.made_data import packed
from zoo.data import load_split
from zoo.errors import CatalogError
from zoo.training import Recipe, load_recipe, recipe_names
from zoo.training.engine import Training
from zoo.training.optim import build_optimizer, build_schedule
from zoo.training.start import Beginning

RECIPES = Path(zoo.__file__).parent / "training" / "recipes"
NAME = "has8_resnet_b2_m2_d1_ste_bpd"


def _built(name: str, steps: int) -> tuple[torch.nn.Module, torch.optim.Optimizer, Scheduler, Recipe]:
    recipe, model = load_recipe(name), zoo.create_model(NAME, num_classes=10)
    optimizer = build_optimizer(model, recipe)
    return model, optimizer, build_schedule(optimizer, recipe, steps), recipe


def _rates(optimizer: torch.optim.Optimizer, schedule: Scheduler, updates: int) -> list[float]:
    rates = []
    for update in range(1, updates + 1):
        schedule.step_update(update)
        (rate,) = {group["lr"] for group in optimizer.param_groups}
        rates.append(rate)
    return rates


def test_paper_small_is_the_papers_adam_at_a_fixed_rate() -> None:
    model, optimizer, schedule, recipe = _built("paper-small", steps=3)
    assert type(optimizer) is torch.optim.Adam  # with weight decay in the gradient, not AdamW's
    (group,) = optimizer.param_groups  # one group: biases and batch norms decay too
    assert len(group["params"]) == len(list(model.parameters()))
    settings = {key: group[key] for key in ("lr", "betas", "eps", "weight_decay", "amsgrad", "decoupled_weight_decay")}
    assert settings == {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 1e-3,
        "amsgrad": False,
        "decoupled_weight_decay": False,
    }
    assert set(_rates(optimizer, schedule, 3 * recipe.epochs)) == {1e-3}
    assert (recipe.epochs, recipe.seed) == (100, 3407)


def test_paper_small_steps_with_batches_of_16_drawn_by_its_seed(tmp_path: Path) -> None:
    data = load_split(packed(tmp_path / "train.npz", 40), "train")
    torch.manual_seed(3407)
    start = Beginning(zoo.create_model(NAME, num_classes=2))
    run = Training(start, data, load_recipe("paper-small"), tmp_path)
    (batch,) = next(run._feeder.steps(0, 0))
    assert len(batch.x) == 16
    assert (run.plan.steps, run.plan.seed) == (2, 3407)
    # Flips are all its augmentation: every image is one of the data, as it is or mirrored.
    originals = data.read(torch.arange(len(data)))[0].float() / 255
    both = torch.cat([originals, originals.flip(3)])
    found = [int((both - image).abs().amax((1, 2, 3)).argmin()) for image in batch.x]
    assert torch.equal(both[found], batch.x)
    assert 0 < sum(place >= 40 for place in found) < 16
    assert run.recipe.clip_norm is None
    assert run.recipe.label_smoothing == 0


def test_paper_imagenet_warms_up_and_anneals_once_from_the_full_rate() -> None:
    """As the published code does: LinearLR over 5 epochs, then CosineAnnealingLR over the 95 that are left."""
    _, optimizer, schedule, recipe = _built("paper-imagenet", steps=70)
    assert type(optimizer) is torch.optim.SGD
    (group,) = optimizer.param_groups
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 5e-4)
    rates = _rates(optimizer, schedule, 70 * recipe.epochs)
    warmup = 5 * 70
    warm, cosine = rates[: warmup - 1], rates[warmup - 1 :]
    assert warm == sorted(warm)
    assert warm[0] == pytest.approx(6.25e-3 * (6.25e-4 + (1 - 6.25e-4) / warmup), rel=1e-6)
    assert max(rates) == cosine[0] == pytest.approx(6.25e-3, rel=1e-9)
    for place in (1, 1000, 3325, 6000):
        expected = 6.25e-3 * (1 + math.cos(math.pi * place / (95 * 70))) / 2
        assert cosine[place] == pytest.approx(expected, rel=1e-6)
    assert cosine == sorted(cosine, reverse=True)  # without a restart
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_a_warm_up_beneath_the_schedule_stays_what_it_was() -> None:
    """Released weights were trained so: the cosine's beginning is hidden by the warm-up."""
    model = zoo.create_model(NAME, num_classes=10)
    recipe = load_recipe("modern", {"epochs": 10})
    optimizer = build_optimizer(model, recipe)
    rates = _rates(optimizer, build_schedule(optimizer, recipe, 20), 200)
    assert rates[19] == pytest.approx(3e-3 * (1 + math.cos(math.pi * 20 / 200)) / 2, rel=1e-6)


def test_a_recipe_has_a_reason_beside_every_number() -> None:
    assert set(recipe_names()) >= {"bundled", "modern", "paper-imagenet", "paper-small"}
    for name in recipe_names():
        text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
        for key in yaml.safe_load(text):
            (line,) = [line for line in text.splitlines() if line.startswith(f"{key}:")]
            assert len(line.partition("#")[2]) > 5, f"{name}: {key}"


def test_what_released_weights_were_trained_with_stays() -> None:
    modern = load_recipe("modern")
    assert (modern.epochs, modern.batch_size, modern.optimizer) == (14, 128, "adamw")
    assert (modern.learning_rate, modern.weight_decay, modern.clip_norm) == (3e-3, 0.05, 5.0)
    assert (modern.label_smoothing, modern.flip, modern.max_shift, modern.precision) == (0.1, True, 4, "bf16")
    fields = Recipe.model_fields
    assert modern.model_fields_set >= {name for name, field in fields.items() if field.is_required()}


def test_a_recipe_of_your_own_is_a_file(tmp_path: Path) -> None:
    text = (RECIPES / "bundled.yaml").read_text(encoding="utf-8")
    own = tmp_path / "own.yaml"
    own.write_text(text.replace("epochs: 20", "epochs: 7"), encoding="utf-8")
    assert load_recipe(own, {"seed": 5}) == load_recipe("bundled", {"epochs": 7, "seed": 5})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- 1", "is not a list of settings"),
        ("a: [", "is not YAML"),
        ("epochs: 0", "epochs: .* not 0"),
        ("surprise: 1", "surprise: Extra inputs"),
    ],
)
def test_a_malformed_recipe_says_what_is_wrong(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(CatalogError, match=said):
        load_recipe(file)


def test_wrong_names_name_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"unknown recipe 'bundle'; did you mean 'bundled'\?.*ends in \.yaml"):
        load_recipe("bundle")
    with pytest.raises(CatalogError, match=r"none\.yaml cannot be read"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(CatalogError, match=r"no setting 'learningrate'; did you mean 'learning_rate'"):
        load_recipe("modern", {"learningrate": 1})
    model = zoo.create_model(NAME, num_classes=2)
    with pytest.raises(CatalogError, match=r"no optimizer 'adamv'; did you mean 'adam"):
        build_optimizer(model, load_recipe("modern", {"optimizer": "adamv"}))
    with pytest.raises(CatalogError, match="sgd has no betas"):
        build_optimizer(model, load_recipe("modern", {"optimizer": "sgd", "betas": [0.9, 0.99]}))
    with pytest.raises(CatalogError, match="sgd does not take the recipe's settings: Nesterov"):
        build_optimizer(model, load_recipe("modern", {"optimizer": "sgd", "momentum": 0}))
