"""Runs that explode: what is refused, and what the message names."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.made_runs import states, training
from zoo.data import ImageSplit
from zoo.errors import TrainingError
from zoo.training.engine import Training


def _spoil(run: Training, layer: str, value: float) -> None:
    with torch.no_grad():
        run.network.get_submodule(layer).weight.view(-1)[0] = value


class GradientTimes(torch.autograd.Function):
    """The same values; the gradient is multiplied."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0] * ctx.factor, None


def test_a_loss_that_is_no_number_names_step_and_layer(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path)
    run.run_epoch()
    good = run.checkpoint.read_bytes()
    _spoil(run, "stages.0.0.analog.conv", math.nan)
    with pytest.raises(TrainingError) as caught:
        run.run_epoch()
    assert "epoch 2, step 1 of 3: the loss is nan; layer stages.0.0.analog.conv: its output is not finite" in str(
        caught.value
    )
    assert str(run.checkpoint) in str(caught.value)
    assert "--set clip_norm=1" in str(caught.value)  # as `zoo train` takes it
    assert run.checkpoint.read_bytes() == good


def test_a_gradient_that_is_no_number_names_its_layer(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path)
    module = run.network.get_submodule("stages.1.0.analog")
    module.register_forward_hook(lambda m, args, out: GradientTimes.apply(out, math.inf))
    before = states(run)
    with pytest.raises(
        TrainingError, match=r"step 1 of 3: the gradient's norm is nan; layer stages\.\S+: the gradient"
    ):
        run.run_epoch()
    for name, parameter in run.network.named_parameters():
        assert torch.equal(parameter, before[name]), name  # no step was taken


def test_a_loss_above_the_limit_has_exploded(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path, loss_limit=0.01)
    with pytest.raises(TrainingError, match=r"the loss is \S+; layer \S+: its output, up to \S+, is the largest"):
        run.run_epoch()
    with pytest.raises(TrainingError, match="Nothing was saved yet"):
        run.run_epoch()


def test_a_norm_too_large_for_float32_is_clipped_all_the_same(data: ImageSplit, tmp_path: Path) -> None:
    run = training(data, tmp_path, optimizer="sgd", learning_rate=0.5, weight_decay=0.0, clip_norm=1.0)
    run.network.get_submodule("stages.1.0.analog").register_forward_hook(
        lambda m, args, out: GradientTimes.apply(out, 1e22)
    )
    before = states(run)
    run.run_epoch()
    assert 1e19 < run.rows[0].grad_norm < math.inf
    moved = [float((p.detach() - before[name]).norm()) for name, p in run.network.named_parameters()]
    assert 0 < max(moved) < 3 * 0.5
