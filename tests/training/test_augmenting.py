"""Random changes of training images."""

from __future__ import annotations

import torch

from zoo.training.loader import augment


def test_augmenting_mirrors_and_moves_whole_images() -> None:
    x = torch.arange(2 * 3 * 6 * 6, dtype=torch.float32).reshape(2, 3, 6, 6) + 1
    still = augment(x, flip=False, max_shift=0, generator=torch.Generator())
    assert torch.equal(still, x)
    seen = set()
    for seed in range(40):
        moved = augment(x[:1], flip=True, max_shift=1, generator=torch.Generator().manual_seed(seed))
        candidates = {
            (mirrored, dy, dx)
            for mirrored in (False, True)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if torch.equal(moved, _moved(x[:1].flip(3) if mirrored else x[:1], dy, dx))
        }
        assert len(candidates) == 1
        seen |= candidates
    assert len(seen) > 10


def _moved(x: torch.Tensor, dy: int, dx: int) -> torch.Tensor:
    height, width = x.shape[2:]
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    return padded[:, :, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
