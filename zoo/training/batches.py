"""The order of images: the rows and seeds of every step follow from (seed, epoch, step, micro-batch) alone.

So a checkpoint needs no state of a random generator, and several processes draw the same numbers as one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from typing import NamedTuple, final

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from zoo.data import ImageSplit
from zoo.data.splits import map_ahead
from zoo.errors import InputError
from zoo.training.recipe import Recipe

LEAST = 2
"""Images of a micro-batch: a batch norm over one pixel needs two."""
_ORDER, _AUGMENTATION, _MODEL = range(3)  # uses of a seed, so that no two draws share one


def derive_seed(use: int, *position: int) -> int:
    """Return a seed of 32 bits that follows from its use and the position in the run alone."""
    # numpy's SeedSequence takes (1,) and (1, 0) for the same: the length goes in too.
    return int(np.random.SeedSequence((use, len(position), *position)).generate_state(1)[0])


@final
@dataclass(frozen=True)
class Plan:
    """The steps of an epoch; micro_batches = processes × accumulated batches."""

    images: int
    batch_size: int
    micro_batches: int
    seed: int

    @property
    def steps(self) -> int:
        """Whole batches of an epoch; the remainder consists of other images in every epoch."""
        return self.images // self.batch_size

    def order(self, epoch: int) -> Tensor:
        """Return the rows of an epoch's micro-batches, (steps, micro_batches, rows) int64; epochs count from 0."""
        generator = torch.Generator().manual_seed(derive_seed(_ORDER, self.seed, epoch))
        rows = torch.randperm(self.images, generator=generator)
        return rows[: self.steps * self.batch_size].reshape(self.steps, self.micro_batches, -1)


def make_plan(images: int, batch_size: int, micro_batches: int, seed: int) -> Plan:
    """Plan the steps; if there are fewer images than a batch, each epoch is one step of all of them.

    Raises `InputError` for micro-batches of unequal size, or of fewer than two images.
    """
    size = min(batch_size, images - images % micro_batches)
    if batch_size % micro_batches or size < LEAST * micro_batches:
        near = max(LEAST * micro_batches, batch_size - batch_size % micro_batches)
        raise InputError(
            f"a batch of {size} images cannot be split into {micro_batches} equal parts (processes times accumulated "
            f"batches) of {LEAST} or more; choose `batch_size={near}`, or add images"
        )
    return Plan(images, size, micro_batches, seed)


@final
class MicroBatch(NamedTuple):
    """Pixels (N, 3, H, W) uint8, or frames, labels (N,) int64 of one forward pass, and the seed of what it draws."""

    pixels: Tensor
    labels: Tensor
    seed: int


def read_epoch(
    data: ImageSplit, plan: Plan, recipe: Recipe, own: range, epoch: int, done: int = 0
) -> Iterator[list[MicroBatch]]:
    """Yield this process's micro-batches, by their numbers `own`, of every step after `done`; threads read ahead.

    Raises `InputError` if fewer than two images of a batch are sound.
    """
    order = plan.order(epoch)

    def read(job: tuple[int, int]) -> MicroBatch:
        pixels, rows = data.read_sound(order[job])
        if len(rows) < LEAST:
            damaged = ", ".join([*data.damaged.values()][-3:])
            raise InputError(f"only {len(rows)} images of a batch are sound ({damaged}); remove the damaged ones")
        drawn = torch.Generator().manual_seed(derive_seed(_AUGMENTATION, plan.seed, epoch, *job))
        if recipe.alternate_flips:
            pixels = data.mirror(pixels, rows, mirrored_in(epoch, pixels))
        elif recipe.flip:
            pixels = data.mirror(pixels, rows, torch.rand(len(rows), generator=drawn) < 0.5)
        frames = pixels.flatten(1, -3)  # all frames of a scene are moved alike
        pixels = shift(frames, recipe.max_shift, drawn, recipe.reflect).view_as(pixels)
        return MicroBatch(pixels, data.labels[rows], derive_seed(_MODEL, plan.seed, epoch, *job))

    batches = map_ahead(read, product(range(done, plan.steps), own), 2 * len(own))
    for _ in range(done, plan.steps):
        yield list(islice(batches, len(own)))


def mirrored_in(epoch: int, x: Tensor) -> Tensor:
    """Choose images of x (N, …, H, W) uint8 to mirror in this epoch, each in every other one: (N,) of bool.

    The sum of its levels, even or odd, says in which. In two epochs an image is seen from both sides once, which chance
    does for half of them (arXiv:2404.00498).
    """
    return x.flatten(1).sum(1) % 2 == epoch % 2


def shift(x: Tensor, max_shift: int, generator: torch.Generator, reflect: bool = False) -> Tensor:
    """Move each image of (N, C, H, W) by up to `max_shift` pixels; a single pixel stays.

    What comes in at the edge is black, or the image's own reflection. transforms.v2 would change all images of a batch
    alike, and draw from the generator that threads share.
    """
    n, channels, height, width = x.shape
    if not max_shift or height == width == 1:
        return x
    padded = v2.functional.pad(x, [max_shift], padding_mode="reflect" if reflect else "constant")
    shifts = torch.randint(0, 2 * max_shift + 1, (2, n, 1), generator=generator)
    rows, columns = shifts[0] + torch.arange(height), shifts[1] + torch.arange(width)
    images, planes = torch.arange(n).reshape(n, 1, 1, 1), torch.arange(channels).reshape(1, -1, 1, 1)
    return padded[images, planes, rows.reshape(n, 1, height, 1), columns.reshape(n, 1, 1, width)]
