"""Synaptic operations: the pairs of a nonzero input and a weight that a convolution or linear layer really joins.

spikingjelly's `SynOpCounter` counts the same pairs where an input is binary (a test compares them). It is not used
here: it judges every call by itself, so that a layer of real values counts as spiking while they happen to be 0 or 1,
leaves out what meets real values, and takes a layer whose weights are all 0 or 1 for one of binary weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional

WINDOWS = tuple(k * k for k in range(2, 9))
"""Values in a square pooling window; an average of spikes over one is a multiple of its reciprocal."""

_ROUNDING = 1e-5


@final
@dataclass
class Synapses:
    """What one layer has done, over all batches so far; whole numbers, exact.

    Attributes:
        dense: multiply-accumulates with every weight, those with zeros and with padding too, as fvcore counts.
        used: pairs of a nonzero input and a weight, padding left out.
        nonzero: nonzero inputs.
        outputs: values returned.
        lowest: of the inputs seen.
        highest: of the inputs seen.
        binary: every input seen is 0 or 1.
        whole: every input seen is 0, 1, 2, …
        windows: of `WINDOWS`, those n for which every input seen is a multiple of 1/n.
    """

    dense: int = 0
    used: int = 0
    nonzero: int = 0
    outputs: int = 0
    lowest: float = math.inf
    highest: float = -math.inf
    binary: bool = True
    whole: bool = True
    windows: set[int] = field(default_factory=lambda: set(WINDOWS))

    def add(self, layer: nn.Module, x: Tensor, output: Tensor) -> None:
        """Count one call of a convolution or linear layer, of any batch and number of timesteps."""
        self.dense += output.numel() * (layer_weight(layer).numel() // _outputs(layer))
        self.used += linear_pairs(layer, x) if isinstance(layer, nn.Linear) else convolution_pairs(layer, x, output)
        self.nonzero += int(x.count_nonzero())
        self.outputs += output.numel()
        self._look_at(x)

    def _look_at(self, x: Tensor) -> None:
        if not x.numel():
            return
        self.lowest, self.highest = min(self.lowest, float(x.min())), max(self.highest, float(x.max()))
        if self.binary:
            self.binary = bool(((x == 0) | (x == 1)).all())
        if self.binary or (not self.whole and not self.windows):
            return
        x = x.double()
        self.whole = self.whole and self.lowest >= 0 and bool((x == x.round()).all())
        self.windows = {n for n in self.windows if self.lowest >= 0 and _are_multiples(x * n)}

    @property
    def operation(self) -> str:
        """'AC' where inputs were spikes alone, else 'MAC'."""
        return "AC" if self.binary else "MAC"

    @property
    def counted(self) -> int:
        """What the layer is charged with: an accumulate for every pair, or every multiply-accumulate."""
        return self.used if self.binary else self.dense

    def reason(self, branch: str) -> str:
        """Why accumulates are enough, or why not."""
        if self.binary:
            return "every input is 0 or 1" if self.highest else "every input is 0"
        if branch != "spiking":
            return f"input is real: {branch} branch"
        if self.whole:
            return f"input has other values than 0 and 1: sums of spikes up to {self.highest:g}"
        if self.windows:
            return f"input has other values than 0 and 1: average-pooled spikes, multiples of 1/{min(self.windows)}"
        return f"input is real: values from {self.lowest:.3g} to {self.highest:.3g}"


def _are_multiples(scaled: Tensor) -> bool:
    return bool(((scaled - scaled.round()).abs() <= _ROUNDING * scaled.abs().clamp(min=1)).all())


def layer_weight(layer: nn.Module) -> Tensor:
    """The weight of a convolution, (O, C/groups, *kernel), or of a linear layer, (O, C)."""
    return cast(Tensor, layer.weight)


def _outputs(layer: nn.Module) -> int:
    return int(layer_weight(layer).shape[0])


def linear_pairs(layer: nn.Module, x: Tensor) -> int:
    """Nonzero inputs times outputs; x is (…, C)."""
    return int(x.count_nonzero()) * _outputs(layer)


def convolution_pairs(layer: nn.Module, x: Tensor, output: Tensor) -> int:
    """Pairs of a nonzero input and a weight in a convolution; stride, padding, dilation and groups exact.

    Args:
        layer: Conv1d, Conv2d or Conv3d.
        x: (…, C, *space).
        output: (…, O, *space').

    An input meets the same number of weights in each of its O/groups outputs: along every axis, as many as there are
    kernel taps that reach it. The taps of the axes multiply.
    """
    conv = cast(nn.Conv2d, layer)
    axes = len(conv.kernel_size)
    x = x.reshape(-1, *x.shape[-axes - 1 :])
    left = _left_padding(conv)
    if conv.padding_mode != "zeros":
        x = functional.pad(x, _both_paddings(conv), mode=conv.padding_mode)  # copies of inputs, which weights meet too
        left = [0] * axes
    nonzero = (x != 0).sum((0, 1))
    for axis, out in enumerate(output.shape[-axes:]):
        taps = axis_taps(
            nonzero.shape[axis], out, conv.kernel_size[axis], conv.stride[axis], conv.dilation[axis], left[axis]
        )
        nonzero = nonzero * taps.to(x.device).reshape([-1 if i == axis else 1 for i in range(axes)])
    return int(nonzero.sum()) * (_outputs(conv) // conv.groups)


def axis_taps(size: int, out: int, kernel: int, stride: int, dilation: int, left: int) -> Tensor:
    """How many kernel taps meet each of `size` positions along one axis, (size,) int64; `left`: zeros padded before."""
    starts = torch.arange(out)[:, None] * stride - left
    positions = (starts + torch.arange(kernel) * dilation).flatten()
    inside = positions[(positions >= 0) & (positions < size)]
    return torch.bincount(inside, minlength=size)


def _left_padding(conv: nn.Conv2d) -> list[int]:
    return _both_paddings(conv)[::2][::-1]


def _both_paddings(conv: nn.Conv2d) -> list[int]:
    """Before and after, from the last axis to the first, as `functional.pad` takes them."""
    if conv.padding == "valid":
        return [0, 0] * len(conv.kernel_size)
    if conv.padding == "same":
        spans = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        return [side for span in reversed(spans) for side in (span // 2, span - span // 2)]
    return [side for p in reversed(cast("tuple[int, ...]", conv.padding)) for side in (p, p)]
