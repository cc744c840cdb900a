"""Recipes: what the paper did, read off the built objects; and files that say what is wrong with them."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.scheduler.scheduler import Scheduler
from torch import nn
from torch.nn import functional

import zoo
from tests.data.made_data import packed
from zoo.data import load_split
from zoo.errors import CatalogError
from zoo.training import Recipe, load_recipe, recipe_names
from zoo.training.batches import mirrored_in, shift
from zoo.training.engine import Engine
from zoo.training.folder import RunFolder
from zoo.training.loop import Training
from zoo.training.recipe import build_optimizer, build_schedule
from zoo.training.setup import Setup

RECIPES = Path(zoo.__file__).parent / "training" / "recipes"
NAME = "has8_resnet_b2_m2_d1_ste_bpd"


def _built(name: str, steps: int, **changes: Any) -> tuple[nn.Module, torch.optim.Optimizer, Scheduler, Recipe]:
    recipe, model = load_recipe(name, changes), zoo.create_model(NAME, num_classes=10)
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


def test_paper_imagenet_restarts_after_each_period_and_ends_at_zero() -> None:
    """After the warm-up of 5 epochs the rates are those of torch's CosineAnnealingWarmRestarts; factor 2 likewise."""
    for first, factor, restarts in ((19.0, 1, 4), (95 / 7, 2, 2)):
        changes = {"restart_epochs": first, "restart_factor": factor}
        _, optimizer, schedule, recipe = _built("paper-imagenet", steps=7, **changes)
        rates = _rates(optimizer, schedule, 7 * recipe.epochs)[5 * 7 - 1 :]
        twin = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=6.25e-3)
        theirs = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(twin, T_0=round(7 * first), T_mult=factor)
        for place, rate in enumerate(rates[:-1]):
            theirs.step(place)
            assert rate == pytest.approx(theirs.get_last_lr()[0], rel=1e-6), place
        assert sum(later > earlier for earlier, later in pairwise(rates)) == restarts
        assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_paper_imagenet_as_published_anneals_once_from_the_full_rate() -> None:
    """The authors' code: LinearLR over 5 epochs, then CosineAnnealingLR over the 95 that are left."""
    _, optimizer, schedule, recipe = _built("paper-imagenet", steps=70, schedule="cosine")
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


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_trains(name: str, tmp_path: Path) -> None:
    data = load_split(packed(tmp_path / "train.npz", 8), "train")
    recipe = load_recipe(name, {"epochs": 1, "batch_size": 8, "precision": "no"})
    model = zoo.create_model("snn_resnet_b1_m1_d1_ste_bpd", num_classes=2)
    run = Training(Setup(model, data, recipe), Engine(model, recipe), RunFolder(tmp_path))
    run.run(lambda: None)
    assert math.isfinite(run.rows[0].train_loss)


def test_a_recipe_of_your_own_is_a_file(tmp_path: Path) -> None:
    text = (RECIPES / "bundled.yaml").read_text(encoding="utf-8")
    own = tmp_path / "own.yaml"
    own.write_text(text.replace("epochs: 20", "epochs: 7"), encoding="utf-8")
    assert load_recipe(own, {"seed": 5}) == load_recipe("bundled", {"epochs": 7, "seed": 5})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- 1", "is not a list of settings"),
        ("a: [", "cannot be read"),
        ("a: 2025-02-30", "cannot be read"),
        ("epochs: 0", "epochs '0'"),
        ("surprise: 1", "surprise.*Extra inputs"),
    ],
)
def test_a_malformed_recipe_says_what_is_wrong(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "own.yaml"
    settings = "" if content.startswith(("-", "a")) else (RECIPES / "bundled.yaml").read_text(encoding="utf-8")
    file.write_text(f"{settings}\n{content}\n", encoding="utf-8")
    with pytest.raises(CatalogError, match=said):
        load_recipe(file)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("bundle", {}, "did you mean 'bundled'"),
        ("none.yaml", {}, r"none\.yaml cannot be read"),
        ("modern", {"learningrate": 1}, "did you mean 'learning_rate'"),
        ("modern", {"seed": 2**63}, "seed '9223372036854775808'"),
        *(("modern", {"precision": value}, "precision.*'bf16'") for value in ("fp16", "", None, 0)),
        ("modern", {"compile": True, "spike_penalty": 1.0}, "compile"),
    ],
)
def test_a_wrong_setting_is_named(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CatalogError, match=said):
        load_recipe(name, changes)


def test_an_optimizer_that_timm_does_not_build_is_named() -> None:
    model = zoo.create_model(NAME, num_classes=2)
    for changes, said in (
        ({"optimizer": "adamv"}, "did you mean 'adam"),
        ({"optimizer": "fusedadam"}, "'fusedadam' cannot be built"),
        ({"optimizer": "bnbadam"}, "'bnbadam' cannot be built"),
        ({"optimizer": "sgd", "momentum": 0}, "Nesterov"),
    ):
        with pytest.raises(CatalogError, match=said):
            build_optimizer(model, load_recipe("modern", changes))


def test_settings_reach_the_optimizer_and_the_schedule() -> None:
    """The warm-up lies beneath the schedule, as released weights were trained."""
    changes = {"optimizer": "sgd", "learning_rate": 0.01, "weight_decay": 0.5, "epochs": 5, "warmup_epochs": 1}
    recipe, model = load_recipe("modern", changes), zoo.create_model(NAME, num_classes=2)
    optimizer = build_optimizer(model, recipe)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.5, 0.0}  # norms and biases are spared
    rates = []
    schedule = build_schedule(optimizer, recipe, 3)
    for update in range(1, 16):
        schedule.step_update(update)
        rates.append(optimizer.param_groups[0]["lr"])
    # Half a cosine over the whole run, its first epoch replaced by a linear rise.
    assert rates.index(max(rates)) == 2
    for step in range(3, 15):
        assert rates[step - 1] == pytest.approx(0.01 * (1 + math.cos(math.pi * step / 15)) / 2, rel=1e-6)
    trial = build_schedule(optimizer, load_recipe("modern", {"epochs": 1, "warmup_epochs": 1}), 20)
    assert trial.warmup_t == 4  # a fifth at most


def test_faster_biases_without_their_decay_are_refused() -> None:
    with pytest.raises(CatalogError, match="decay_all"):
        load_recipe("modern", {"bias_rate": 64})


def test_two_epochs_show_each_image_from_both_sides() -> None:
    x = torch.randint(0, 256, (64, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    first, second, third = (mirrored_in(epoch, x) for epoch in range(3))
    assert 16 < int(first.sum()) < 48
    assert torch.equal(second, ~first)
    assert torch.equal(third, first)


@pytest.mark.parametrize("most", [1, 2])
def test_moved_images_are_filled_with_their_reflection(most: int) -> None:
    x = torch.arange(3 * 6 * 7, dtype=torch.float32).reshape(1, 3, 6, 7)
    padded = functional.pad(x, (most,) * 4, mode="reflect")
    valid = [padded[:, :, dy : dy + 6, dx : dx + 7] for dy in range(2 * most + 1) for dx in range(2 * most + 1)]
    seen = set()
    for seed in range(60):
        moved = shift(x, most, torch.Generator().manual_seed(seed), reflect=True)
        seen.add([torch.equal(moved, each) for each in valid].index(True))
    assert len(seen) > len(valid) // 2
