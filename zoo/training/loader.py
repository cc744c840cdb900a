"""Micro-batches, read and augmented in threads while the step before them is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from zoo.catalog.schema import Preprocessing
from zoo.data import ImageSplit
from zoo.data.images import Transform
from zoo.data.splits import Purpose
from zoo.errors import InputError
from zoo.training.plan import LEAST, Plan
from zoo.training.recipes import Recipe


@final
@dataclass(frozen=True)
class MicroBatch:
    """What one forward and backward takes.

    Attributes:
        x: (N, 3, H, W) float32, as the network takes it; a damaged image is missing.
        labels: (N,) int64.
        seed: of what the model and the mixing of images draw.
    """

    x: Tensor
    labels: Tensor
    seed: int


@final
class Feeder:
    """The micro-batches of one process."""

    def __init__(
        self,
        data: ImageSplit,
        plan: Plan,
        recipe: Recipe,
        share: Sequence[int],
        workers: int,
        pinned: bool = False,
        prepared: Preprocessing | None = None,
    ) -> None:
        """Args:
        data: the training split.
        plan: of all processes.
        recipe: for its augmentation and memory format.
        share: the micro-batches of each step that are this process's.
        workers: threads; 0 reads when a batch is asked for.
        pinned: whether batches lie in page-locked memory, from where a GPU fetches them while it computes.
        prepared: states the mean and std that the network takes; None for pixels in [0, 1].
        """
        self._transform = Transform(prepared or Preprocessing(size=data.size[0]))
        self._data, self._plan, self._recipe = data, plan, recipe
        self._share, self._workers, self._pinned = tuple(share), workers, pinned

    def steps(self, epoch: int, first: int) -> Iterator[list[MicroBatch]]:
        """This process's micro-batches of the steps `first`, … of an epoch.

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
        rows, recipe = self._plan.rows(epoch, step, micro), self._recipe
        pixels, labels = self._data.read(rows)
        if len(labels) < LEAST:
            raise InputError(
                f"epoch {epoch + 1}, step {step + 1}: of {len(rows)} images {len(rows) - len(labels)} are damaged "
                f"({', '.join(self._data.damage.names[-3:])}); remove those, or raise the batch size"
            )
        drawn = torch.Generator().manual_seed(self._plan.seed_of(Purpose.AUGMENTATION, epoch, step, micro))
        x = self._transform.scale(augment(pixels, recipe.flip, recipe.max_shift, drawn))
        if recipe.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        if self._pinned:
            x, labels = x.pin_memory(), labels.pin_memory()
        return MicroBatch(x, labels, self._plan.seed_of(Purpose.MODEL, epoch, step, micro))


def augment(x: Tensor, flip: bool, max_shift: int, generator: torch.Generator) -> Tensor:
    """Each image mirrored with probability ½ and moved by up to `max_shift` pixels, black entering.

    Args:
        x: (N, C, H, W).
        flip: whether to mirror.
        max_shift: pixels.
        generator: of the random choices.
    """
    n, _, height, width = x.shape
    if flip:
        mirrored = torch.rand(n, generator=generator) < 0.5
        x = torch.where(mirrored.reshape(-1, 1, 1, 1), x.flip(3), x)
    if not max_shift:
        return x
    padded = functional.pad(x, (max_shift,) * 4)
    shifts = torch.randint(0, 2 * max_shift + 1, (2, n, 1), generator=generator)
    rows = (shifts[0] + torch.arange(height)).reshape(n, 1, height, 1)
    columns = (shifts[1] + torch.arange(width)).reshape(n, 1, 1, width)
    every = torch.arange(n).reshape(n, 1, 1, 1), torch.arange(x.shape[1]).reshape(1, -1, 1, 1)
    return padded[every[0], every[1], rows, columns]
