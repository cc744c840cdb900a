"""Which images make up which step, and every seed: functions of (seed, epoch, step, micro-batch) and of nothing else.

So a run needs no state of a random generator to go on, and several processes draw what one would.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import torch
from torch import Tensor

from zoo.data.splits import Purpose, derive_seed
from zoo.errors import InputError

LEAST = 2
"""Images of a micro-batch: a batch norm over one pixel needs two."""


@final
@dataclass(frozen=True)
class Plan:
    """The steps of an epoch.

    Attributes:
        images: in the split.
        batch_size: of one optimiser step, over all its micro-batches.
        micro_batches: parts that a step is computed in: processes times accumulated batches.
        seed: of the run.
    """

    images: int
    batch_size: int
    micro_batches: int
    seed: int

    @property
    def steps(self) -> int:
        """Whole batches of an epoch; what is left over belongs to other images in every epoch."""
        return self.images // self.batch_size

    def order(self, epoch: int) -> Tensor:
        """(images,) int64: the rows in the order of that epoch."""
        return _permutation(self.images, derive_seed(Purpose.ORDER, self.seed, epoch))

    def rows(self, epoch: int, step: int, micro: int) -> Tensor:
        """The rows of one micro-batch; steps and micro-batches count from 0."""
        size = self.batch_size // self.micro_batches
        start = step * self.batch_size + micro * size
        return self.order(epoch)[start : start + size]

    def seed_of(self, purpose: Purpose, epoch: int, step: int, micro: int) -> int:
        """The seed of what is drawn for one micro-batch."""
        return derive_seed(purpose, self.seed, epoch, step, micro)


@lru_cache(maxsize=2)
def _permutation(images: int, seed: int) -> Tensor:
    return torch.randperm(images, generator=torch.Generator().manual_seed(seed))


def make_plan(images: int, batch_size: int, micro_batches: int, seed: int) -> Plan:
    """The plan of a run; where there are fewer images than a batch, each epoch is one step of all of them.

    Raises:
        InputError: micro-batches of unequal size, or of fewer than two images.
    """
    if batch_size % micro_batches:
        near = batch_size - batch_size % micro_batches or micro_batches
        raise InputError(
            f"a batch of {batch_size} images cannot be split into {micro_batches} equal parts "
            f"(processes times accumulated batches); choose --batch-size {near}"
        )
    size = min(batch_size, images)
    size -= size % micro_batches
    if size < LEAST * micro_batches:
        raise InputError(
            f"{images} images in batches of {batch_size} make micro-batches of fewer than {LEAST} images "
            f"({micro_batches} of them a step); add images, or use fewer processes and accumulated batches"
        )
    return Plan(images, size, micro_batches, seed)
