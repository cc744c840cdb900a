"""Small runs, as several tests of training make them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

import zoo
from zoo.contracts.classifier import ImageClassifier
from zoo.data import ImageSplit
from zoo.training import Observer, Recipe, load_recipe
from zoo.training.engine import Engine, make_accelerator
from zoo.training.figures import StepFigures
from zoo.training.folder import RunFolder
from zoo.training.loop import Training
from zoo.training.setup import Setup

NAME = "has8_resnet_b2_m2_d1_ste_bpd"


class Losses(Observer):
    """Keeps the figures of every step."""

    def __init__(self) -> None:
        self.steps: list[StepFigures] = []

    def stepped(self, epoch: int, step: int, figures: StepFigures) -> None:
        self.steps.append(figures)


def made_recipe(**changes: object) -> Recipe:
    return load_recipe("bundled", {"epochs": 3, "batch_size": 8, "precision": "no", **changes})


def training(
    data: ImageSplit,
    out: Path,
    name: str = NAME,
    accumulate: int = 1,
    observers: Sequence[Observer] = (),
    teacher: ImageClassifier | None = None,
    **changes: object,
) -> Training:
    torch.manual_seed(1)
    recipe = made_recipe(**changes)
    accelerator = make_accelerator(recipe.precision, accumulate)
    model = zoo.create_model(name, num_classes=2)
    setup = Setup(model, data, recipe, accumulate, teacher)
    return Training(setup, Engine(model, recipe, accelerator), RunFolder(out), observers=observers)


def finish(run: Training) -> None:
    """All epochs, without measuring."""
    run.run(lambda: None)


def states(run: Training) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in run.network.state_dict().items()}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        assert torch.equal(value, other[key]), key
