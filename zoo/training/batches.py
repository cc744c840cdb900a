"""The order of images: the rows and seeds of every step follow from (seed, epoch, step, micro-batch) alone.

So a checkpoint needs no state of a random generator, and several processes draw the same numbers as one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from zoo.data import ImageSplit
from zoo.errors import InputError

LEAST = 2
"""Images of a micro-batch: a batch norm over one pixel needs two."""


class Purpose(IntEnum):
    """Use of a seed, so that no two draws share one."""

    ORDER = 0
    AUGMENTATION = 1
    MODEL = 2


def derive_seed(purpose: Purpose, *position: int) -> int:
    """Return a seed of 32 bits that follows from its use and the position in the run alone."""
    # numpy's SeedSequence takes (1,) and (1, 0) for the same: the length goes in too.
    sequence = np.random.SeedSequence((int(purpose), len(position), *position))
    return int(sequence.generate_state(1)[0])


@final
@dataclass(frozen=True)
class Plan:
    """The steps of an epoch.

    Attributes:
        images: in the split.
        batch_size: images of one optimiser step, over all its micro-batches.
        micro_batches: parts that a step is computed in: processes times accumulated batches.
        seed: of the run.
    """

    images: int
    batch_size: int
    micro_batches: int
    seed: int

    @property
    def steps(self) -> int:
        """Whole batches of an epoch; the remainder consists of other images in every epoch."""
        return self.images // self.batch_size

    @property
    def part(self) -> int:
        """Images of a micro-batch."""
        return self.batch_size // self.micro_batches

    def rows(self, epoch: int, step: int, micro: int) -> Tensor:
        """The rows of one micro-batch, (part,) int64; epochs, steps and micro-batches count from 0."""
        start = step * self.batch_size + micro * self.part
        return _permutation(self.images, derive_seed(Purpose.ORDER, self.seed, epoch))[start : start + self.part]

    def seed_of(self, purpose: Purpose, epoch: int, step: int, micro: int) -> int:
        """The seed of the random numbers of one micro-batch."""
        return derive_seed(purpose, self.seed, epoch, step, micro)


@lru_cache(maxsize=2)
def _permutation(images: int, seed: int) -> Tensor:
    return torch.randperm(images, generator=torch.Generator().manual_seed(seed))


def make_plan(images: int, batch_size: int, micro_batches: int, seed: int) -> Plan:
    """Plan the steps; if there are fewer images than a batch, each epoch is one step of all of them.

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


@final
@dataclass(frozen=True)
class MicroBatch:
    """The images of one forward and backward pass.

    Attributes:
        pixels: (N, 3, H, W) uint8, without damaged images.
        labels: (N,) int64.
        seed: of the random numbers that the model and the mixing of images draw.
    """

    pixels: Tensor
    labels: Tensor
    seed: int


@final
class Feeder:
    """Reads the micro-batches of one process, in threads while the step before them is computed.

    Args:
        data: the training split.
        plan: of all processes.
        share: numbers of this process's micro-batches of each step.
        flip, max_shift: as in a recipe.
        workers: threads; 0 reads a batch when it is needed.
        pinned: keep batches in page-locked memory, which a GPU copies while it computes.
    """

    def __init__(
        self, data: ImageSplit, plan: Plan, share: Sequence[int], flip: bool, max_shift: int, workers: int, pinned: bool
    ) -> None:
        self._data, self._plan, self._share = data, plan, tuple(share)
        self._flip, self._max_shift, self._workers, self._pinned = flip, max_shift, workers, pinned

    def steps(self, epoch: int, first: int) -> Iterator[list[MicroBatch]]:
        """The micro-batches of the steps `first`, … of an epoch.

        Raises:
            InputError: too many damaged images; the message says where.
        """
        jobs = [(step, micro) for step in range(first, self._plan.steps) for micro in self._share]
        batches = self._ahead(epoch, jobs) if self._workers else (self._make(epoch, *job) for job in jobs)
        for _ in range(first, self._plan.steps):
            yield [next(batches) for _ in self._share]

    def _ahead(self, epoch: int, jobs: Sequence[tuple[int, int]]) -> Iterator[MicroBatch]:
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="zoo-images")
        waiting: deque[Future[MicroBatch]] = deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(self._make, epoch, *job))
                if len(waiting) > max(self._workers, len(self._share)):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _make(self, epoch: int, step: int, micro: int) -> MicroBatch:
        rows = self._plan.rows(epoch, step, micro)
        pixels, labels = self._data.read(rows)
        if len(labels) < LEAST:
            raise InputError(
                f"epoch {epoch + 1}, step {step + 1}: of {len(rows)} images {len(rows) - len(labels)} are damaged "
                f"({', '.join(self._data.damage.names[-3:])}); remove those, or raise the batch size"
            )
        drawn = torch.Generator().manual_seed(self._plan.seed_of(Purpose.AUGMENTATION, epoch, step, micro))
        pixels = augment(pixels, self._flip, self._max_shift, drawn)
        if self._pinned:
            pixels, labels = pixels.pin_memory(), labels.pin_memory()
        return MicroBatch(pixels, labels, self._plan.seed_of(Purpose.MODEL, epoch, step, micro))


def augment(x: Tensor, flip: bool, max_shift: int, generator: torch.Generator) -> Tensor:
    """Mirror each image with probability ½ and move it by up to `max_shift` pixels, filling with black.

    All images of a batch at once, which transforms.v2 cannot draw separately, and from a generator of its own, which
    threads need.

    Args:
        x: (N, C, H, W).
        flip: mirror images.
        max_shift: pixels, in each direction.
        generator: of the random choices.

    Returns:
        (N, C, H, W).
    """
    n, channels, height, width = x.shape
    if flip:
        mirrored = torch.rand(n, generator=generator) < 0.5
        x = torch.where(mirrored.reshape(-1, 1, 1, 1), x.flip(3), x)
    if not max_shift:
        return x
    padded = functional.pad(x, (max_shift,) * 4)
    shifts = torch.randint(0, 2 * max_shift + 1, (2, n, 1), generator=generator)
    rows = (shifts[0] + torch.arange(height)).reshape(n, 1, height, 1)
    columns = (shifts[1] + torch.arange(width)).reshape(n, 1, 1, width)
    return padded[torch.arange(n).reshape(n, 1, 1, 1), torch.arange(channels).reshape(1, -1, 1, 1), rows, columns]
