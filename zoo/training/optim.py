"""Optimiser, schedule and clipping of a recipe: timm's and torch's own, built from its numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from zoo.errors import CatalogError, missing_extra, suggest
from zoo.training.recipes import Recipe

try:
    from timm.optim import create_optimizer_v2, list_optimizers
    from timm.scheduler import create_scheduler_v2
    from timm.scheduler.scheduler import Scheduler
except ModuleNotFoundError as error:
    raise missing_extra(error, "training", "train") from error


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimiser over all parameters; raises `CatalogError` for a name or settings that timm does not know."""
    if recipe.optimizer not in list_optimizers():
        raise CatalogError(f"timm has no optimizer {recipe.optimizer!r}{suggest(recipe.optimizer, list_optimizers())}")
    extra: dict[str, Any] = {} if recipe.betas is None else {"betas": recipe.betas}
    try:
        optimizer = create_optimizer_v2(
            model,
            opt=recipe.optimizer,
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
            filter_bias_and_bn=not recipe.decay_all,
            **extra,
        )
    except (TypeError, ValueError) as error:
        raise CatalogError(f"the optimizer {recipe.optimizer} does not take the recipe's settings: {error}") from error
    if recipe.betas is not None and "betas" not in optimizer.defaults:  # timm drops what an optimiser does not take
        raise CatalogError(f"the optimizer {recipe.optimizer} has no betas; leave them out of the recipe")
    return optimizer


def build_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int) -> Scheduler:
    """The schedule, stepped by the number of updates; `steps` of them are an epoch."""
    growths = [recipe.cycle_growth**i for i in range(recipe.cycles)]
    scheduled = recipe.epochs - (recipe.warmup if recipe.warmup_first else 0)
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched=recipe.schedule,
        num_epochs=scheduled / sum(growths),  # of the first cosine; with one, all of them
        warmup_epochs=recipe.warmup,
        warmup_lr=recipe.learning_rate * recipe.warmup_start,
        warmup_prefix=recipe.warmup_first,
        cycle_mul=float(recipe.cycle_growth),
        cycle_decay=1.0,
        cycle_limit=recipe.cycles,
        step_on_epochs=False,
        updates_per_epoch=steps,
    )
    return schedule


def clip_gradient(parameters: Iterable[nn.Parameter], limit: float | None) -> float:
    """Scale the gradient down to the norm `limit`; its norm before that, over all parameters.

    A norm too large for float32, as the published surrogates' can be, is computed in float64; infinity or NaN is
    returned only where a gradient itself is not finite, and nothing is scaled then.
    """
    having = [p for p in parameters if p.grad is not None]
    gradients = [p.grad for p in having if p.grad is not None]
    norm: Tensor = get_total_norm(gradients)
    if not math.isfinite(float(norm)):
        norm = get_total_norm([gradient.double() for gradient in gradients])
    size = float(norm)
    if limit is not None and math.isfinite(size):
        clip_grads_with_norm_(having, limit, norm)
    return size
