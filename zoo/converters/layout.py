"""Compare a checkpoint with the keys and shapes of published networks."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from zoo.errors import WeightError, shorten

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int | None, ...]
"""The shape of a tensor; None for any size from 1 on."""

_COUNTER = ".num_batches_tracked"
"""Old checkpoints lack it; a network in eval mode does not read it."""


@final
@dataclass(frozen=True)
class Layout:
    """One published network.

    Attributes:
        name: as its publisher calls it.
        shapes: published key → shape, in the publisher's order.
    """

    name: str
    shapes: Mapping[str, Shape]

    def distance(self, state: Mapping[str, Tensor]) -> tuple[int, int]:
        """Count a checkpoint's tensors that do not fit, and the layout's own that are missing.

        The first counts for more, so that the beginning of a deep network is not taken for a shallow one.
        """
        alike = sum(key in state and fits(state[key], shape) for key, shape in self.shapes.items())
        return len(state) - alike, len(self.shapes) - alike


def norm_shapes(key: str, width: int) -> dict[str, Shape]:
    """Return the keys of a batch norm with their shapes."""
    shapes: dict[str, Shape] = {f"{key}.{name}": (width,) for name in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {key + _COUNTER: ()}


def fits(tensor: Tensor, shape: Shape) -> bool:
    """Compare a tensor with a shape."""
    sizes = tuple(tensor.shape)
    return len(sizes) == len(shape) and all(
        size > 0 if wanted is None else size == wanted for size, wanted in zip(sizes, shape, strict=True)
    )


def choose_layout(state: Mapping[str, Tensor], layouts: Sequence[Layout], publisher: str) -> Layout:
    """Find the layout of a checkpoint by its keys and shapes.

    Args:
        state: of the checkpoint.
        layouts: of the networks that it may be of.
        publisher: owner of these networks, for messages.

    Raises:
        WeightError: it has none of them; the message names the first wrong key of the nearest one.
    """
    nearest = min(layouts, key=lambda layout: layout.distance(state))
    wrong = _first_wrong_key(state, nearest)
    if wrong is None:
        return nearest
    if nearest.distance(state) == (len(state), len(nearest.shapes)):
        names = ", ".join(layout.name for layout in layouts)
        raise WeightError(f"it is not a checkpoint of {publisher} ({names}): {wrong}")
    raise WeightError(f"it is nearest to {nearest.name} of {publisher}, but {wrong}")


def _first_wrong_key(state: Mapping[str, Tensor], layout: Layout) -> str | None:
    """Describe the first missing or misshapen key of the layout; else one that the layout does not have."""
    unknown = sorted(state.keys() - layout.shapes.keys())
    for key, shape in layout.shapes.items():
        if key not in state and not key.endswith(_COUNTER):
            nearest = difflib.get_close_matches(key, unknown, n=1, cutoff=0)
            return f"{key} is missing" + "".join(f"; {_foreign(name, layout)}" for name in nearest)
        if key in state and not fits(state[key], shape):
            wanted = ", ".join("any" if size is None else str(size) for size in shape)
            return f"{key} has the shape {tuple(state[key].shape)}, and ({wanted}) is expected"
    return _foreign(unknown[0], layout) if unknown else None


def _foreign(key: str, layout: Layout) -> str:
    return f"it has {shorten(key, 120)}, which {layout.name} does not have"


def renamed(state: Mapping[str, Tensor], keys: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the values under our keys, floats as float32; a batch norm without a counter starts at 0.

    Args:
        state: of the checkpoint.
        keys: published key → ours.
    """
    import torch

    ours = {}
    for key, own in keys.items():
        value = state[key] if key in state else torch.zeros((), dtype=torch.int64)
        ours[own] = value.float() if value.is_floating_point() else value
    return ours
