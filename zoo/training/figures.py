"""Figures of a run: of its steps, and of its epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean as mean
from typing import Any, final


@final
@dataclass(frozen=True)
class StepFigures:
    """One optimiser step, over all processes.

    Attributes:
        loss: mean over the micro-batches.
        grad_norm: of all parameters, before clipping.
        hits, images: those classified correctly, and all.
        lr: learning rate of the step.
        spike_rate: spikes per neuron and timestep, in the last step of an epoch; else None, as without neurons.
        block_norms: `grad_norm` of each block alone, by its name.
    """

    loss: float
    grad_norm: float
    hits: int
    images: int
    lr: float
    spike_rate: float | None
    block_norms: dict[str, float] = field(default_factory=dict)


@final
@dataclass
class EpochRow:
    """One epoch, a row of metrics.csv.

    Attributes:
        epoch: from 1.
        step: optimiser steps since the beginning of the run.
        train_loss: mean over steps of the loss that is minimised, with all its terms.
        train_top1: percent, on the augmented images, while the weights changed.
        lr: mean learning rate of the steps.
        grad_norm: mean before clipping.
        spike_rate: spikes per neuron and timestep in the last step; None without neurons.
        images_per_second, seconds: of training alone.
        val: validation figures, if measured: top1, loss.
        block_norms: `grad_norm` of each block alone, by its name.
    """

    epoch: int
    step: int
    train_loss: float
    train_top1: float
    lr: float
    grad_norm: float
    spike_rate: float | None
    images_per_second: float
    seconds: float
    val: dict[str, float] = field(default_factory=dict)
    block_norms: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Flat; validation figures begin with `val_`, norms of blocks with `grad_norm_`."""
        content = asdict(self)
        norms, val = content.pop("block_norms"), content.pop("val")
        content |= {f"grad_norm_{block}": norm for block, norm in norms.items()}
        return content | {f"val_{name}": value for name, value in val.items()}


def summarise(epoch: int, steps: Sequence[StepFigures], seconds: float) -> EpochRow:
    """Make the row of an epoch that took `steps`."""
    images = sum(step.images for step in steps)
    return EpochRow(
        epoch=epoch,
        step=epoch * len(steps),
        train_loss=mean(step.loss for step in steps),
        train_top1=100 * sum(step.hits for step in steps) / images,
        lr=mean(step.lr for step in steps),
        grad_norm=mean(step.grad_norm for step in steps),
        spike_rate=steps[-1].spike_rate,
        images_per_second=images / seconds,
        seconds=seconds,
        block_norms=_mean_norms(steps),
    )


def _mean_norms(steps: Sequence[StepFigures]) -> dict[str, float]:
    """Return the mean norm of each block; a run that an earlier version began has steps without any."""
    known = [step.block_norms for step in steps if step.block_norms]
    return {block: mean(norms[block] for norms in known) for block in known[-1]} if known else {}
