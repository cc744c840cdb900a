"""A convolution and its batch norm: from one or several published ones to the one that spikingjelly has.

spikingjelly computes q, k and v by one convolution, leaves out biases that a batch norm follows, and has 1×1 kernels
where some authors have matrices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from zoo_convert import norm_shapes

_NORM = ("weight", "bias", "running_mean", "running_var")
_COUNTER = "num_batches_tracked"

Shape = tuple[int | None, ...]


@final
@dataclass(frozen=True)
class Join:
    """Layers that become one convolution of ours.

    Attributes:
        ours: keys of our convolution and of our norm.
        theirs: keys of the published convolutions and norms; their outputs are stacked in this order.
        width: outputs of each published one.
        inputs: of each; None for any number of image channels.
        kernel: of the published weights, () for a matrix.
        our_kernel: of ours.
        biased: whether the published convolutions have a bias.
        our_bias: whether ours has one; where it has none, the running mean takes it.
    """

    ours: tuple[str, str]
    theirs: tuple[tuple[str, str], ...]
    width: int
    inputs: int | None
    kernel: tuple[int, ...]
    our_kernel: tuple[int, ...]
    biased: bool = False
    our_bias: bool = False

    def shapes(self) -> dict[str, Shape]:
        """Published key → shape."""
        shapes: dict[str, Shape] = {}
        for convolution, norm in self.theirs:
            shapes[f"{convolution}.weight"] = (self.width, self.inputs, *self.kernel)
            if self.biased:
                shapes[f"{convolution}.bias"] = (self.width,)
            shapes |= norm_shapes(norm, self.width)
        return shapes

    def joined(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Our keys and values, of a state with these shapes."""
        convolution, norm = self.ours
        weight = torch.cat([state[f"{key}.weight"] for key, _ in self.theirs])
        ours = {f"{convolution}.weight": weight.reshape(*weight.shape[:2], *self.our_kernel)}
        for name in _NORM:
            ours[f"{norm}.{name}"] = torch.cat([state[f"{key}.{name}"] for _, key in self.theirs])
        counter = state.get(f"{self.theirs[0][1]}.{_COUNTER}")
        ours[f"{norm}.{_COUNTER}"] = torch.zeros((), dtype=torch.int64) if counter is None else counter
        bias = (
            torch.cat([state[f"{key}.bias"] for key, _ in self.theirs])
            if self.biased
            else weight.new_zeros(len(weight))
        )
        if self.our_bias:
            ours[f"{convolution}.bias"] = bias
        else:  # norm(x + bias) is norm with the mean less that bias
            ours[f"{norm}.running_mean"] = ours[f"{norm}.running_mean"] - bias
        return ours
