"""A training with timm's public API: data set, loader, optimiser, schedule; three steps on image files."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image
from timm.data import create_dataset, create_loader, resolve_model_data_config
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler
from torch.nn import functional

import zoo.timm

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "timm.md"
zoo.timm.register_models("has8_resnet_b4_m2_d2_ste_bpd")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Twelve images in two folders, one for each class."""
    for i in range(12):
        folder = tmp_path / "photos" / "train" / ("bright" if i % 2 else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        shade = torch.rand(3, 32, 32) * 0.3 + 0.6 * (i % 2)
        Image.fromarray((shade * 255).byte().permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    return tmp_path / "photos"


def test_three_steps_move_every_parameter_and_the_rate_follows_the_schedule(photographs: Path) -> None:
    model = timm.create_model("has8_resnet_b4_m2_d2_ste_bpd", num_classes=2).train()
    config = resolve_model_data_config(model) | {"input_size": (3, 32, 32)}
    dataset = create_dataset("", root=str(photographs), split="train", is_training=True)
    loader = create_loader(
        dataset,
        input_size=config["input_size"],
        batch_size=4,
        is_training=True,
        mean=config["mean"],
        std=config["std"],
        interpolation=config["interpolation"],
        num_workers=0,
        persistent_workers=False,
        device=torch.device("cpu"),
    )
    optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05)
    settings = {"sched": "cosine", "epochs": 1, "sched_on_updates": True, "warmup_epochs": 0, "min_lr": 0.0}
    scheduler, _ = create_scheduler(Namespace(**settings), optimizer, updates_per_epoch=len(loader))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    rates, seen = [], []
    for step, (images, labels) in enumerate(loader):
        seen.append((float(images.min()), float(images.max()), tuple(images.shape)))
        loss = functional.cross_entropy(model(images), labels)
        assert torch.isfinite(loss)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        rates.append(optimizer.param_groups[0]["lr"])
        scheduler.step_update(step + 1)
    assert len(rates) == 3
    assert rates[0] == 1e-3 > rates[1] > rates[2] > 0
    assert all(low >= 0 and high <= 1 and shape == (4, 3, 32, 32) for low, high, shape in seen)
    assert all(not torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_the_training_of_the_guide_runs(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```py\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), re.M | re.S)
    (training,) = [block for block in blocks if "create_loader" in block]
    monkeypatch.chdir(photographs.parent)
    names: dict[str, Any] = {}
    exec(compile(training, "timm.md", "exec"), names)
    assert (names["epochs"], names["step"]) == (1, 2)
    assert torch.isfinite(names["loss"])
    assert names["optimizer"].param_groups[0]["lr"] == 0.0
