"""The backbone `fast`: the kit, its controls, and the first layer that is whitened before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional
from zoo_kit import BackboneTests

import zoo
from zoo.training import load_recipe, train
from zoo.training.recipe import build_optimizer, build_schedule

CONV = "stages.0.0.analog.conv.weight"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class TestFast(BackboneTests):
    name = "fast"
    image_size = 16


def test_a_hybrid_has_the_parameters_of_its_two_controls() -> None:
    def shapes(name: str) -> dict[str, torch.Size]:
        network = zoo.create_model(name, num_classes=7, device="meta")
        return {key: parameter.shape for key, parameter in network.named_parameters()}

    hybrid, analog = shapes("has8_fast_b4_m2_d2_ste_bpd"), shapes("ann_fast_b4_m2_d2")
    spiking = shapes("snn_fast_b4_m2_d2_ste_bpd")
    assert hybrid == analog | spiking
    assert {key for key in hybrid if ".spiking." not in key} == set(analog)
    assert {key for key in hybrid if ".analog." not in key} == set(spiking)


def _blotches(count: int, seed: int) -> np.ndarray:
    """Images (count, 16, 16, 3) uint8 whose neighbours are alike, and whose channels are too."""
    coarse = torch.rand((count, 3, 6, 6), generator=torch.Generator().manual_seed(seed))
    mixed = coarse + 0.5 * coarse.roll(1, dims=1)
    smooth = functional.interpolate(mixed, (16, 16), mode="bicubic").clamp(0, 1)
    return (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder of one epoch."""
    labels = np.arange(64) % 2
    data = {"train": (_blotches(64, 1), labels), "val": (_blotches(16, 2), labels[:16])}
    changes = {"epochs": 1, "batch_size": 16, "precision": "no"}
    return train("ann_fast_b4_m2_d2", data, recipe="fast", changes=changes, out=tmp_path / "run", trackers=()).folder


def test_training_leaves_the_first_layer_white(run: Path) -> None:
    """Over patches of images of the same sort, its channels are uncorrelated, of zero mean and unit variance."""
    model = zoo.create_model(f"local-dir:{run}")
    images = torch.from_numpy(_blotches(64, 1)).permute(0, 3, 1, 2).float() / 255
    weight = model.state_dict()[CONV]
    seen = functional.conv2d(images, weight)[:, :12].permute(1, 0, 2, 3).flatten(1).double()
    varied = torch.cov(seen)
    strong = varied.diagonal() > 0.9  # directions in which these images hardly vary are left small
    assert int(strong.sum()) >= 6
    assert torch.allclose(varied[strong][:, strong], torch.eye(int(strong.sum())).double(), atol=0.05)
    assert torch.equal(weight[:12], -weight[12:])  # no step has moved it


def test_a_run_from_a_weight_keeps_its_first_layer(run: Path, tmp_path: Path) -> None:
    labels = np.arange(32) % 2
    data = {"train": (_blotches(32, 5), labels), "val": (_blotches(16, 6), labels[:16])}
    changes = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-9, "weight_decay": 0.0}
    further = train(f"local-dir:{run}", data, changes=changes, out=tmp_path / "further", trackers=()).folder
    before, after = (zoo.create_model(f"local-dir:{each}").state_dict()[CONV] for each in (run, further))
    torch.testing.assert_close(before, after, atol=1e-6, rtol=0)


def test_fast_rises_and_falls_in_straight_lines() -> None:
    recipe = load_recipe("fast", {"epochs": 10, "warmup_epochs": 2})
    model = zoo.create_model("ann_fast_b4_m2_d2", num_classes=2)
    optimizer = build_optimizer(model, recipe)
    schedule = build_schedule(optimizer, recipe, 10)
    rates = []
    for update in range(1, 101):
        schedule.step_update(update)
        weights, biases = optimizer.param_groups
        rates.append((weights["lr"], biases["lr"]))
    peak = recipe.learning_rate
    assert max(rates) == rates[19] == pytest.approx((peak, 64 * peak))
    assert np.diff([rate for rate, _ in rates[20:]]) == pytest.approx(-peak / 80)
    assert np.diff([rate for rate, _ in rates[:20]]) == pytest.approx(0.8 * peak / 20)
    assert rates[-1] == pytest.approx((0, 0), abs=1e-9)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert sum(len(group["params"]) for group in (weights, biases)) == len(learned)
    assert weights["lr"] * weights["weight_decay"] == pytest.approx(biases["lr"] * biases["weight_decay"])
    norms = {id(p) for name, p in model.named_parameters() if ".bn" in name and name.endswith("bias")}
    assert {id(p) for p in biases["params"]} == norms
