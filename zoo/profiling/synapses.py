"""Products counted: pairs of a nonzero input and a weight, or of two activations that are not 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import repeat
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from zoo.contracts.classifier import Branch
from zoo.contracts.energy import Codes, SynapticLayer
from zoo.errors import CountingError

MOST_LEVELS = 255
_SET_BITS = torch.tensor([value.bit_count() for value in range(MOST_LEVELS + 1)])

_BLOCK = 2**18
"""Values looked at at once, which stay in cache."""


def blocks(x: Tensor) -> Sequence[Tensor]:
    """Split x along its first dimension."""
    if x.numel() <= _BLOCK:
        return (x,) if x.numel() else ()
    return x.split(max(1, _BLOCK * len(x) // x.numel()))


@final
@dataclass
class Values:
    """What the values were that came in: how many, how many not 0, and whether they are whole numbers."""

    inputs: int = 0
    nonzero: int = 0
    lowest: float = math.inf
    highest: float = -math.inf
    whole: bool = True
    total: int = 0

    def add(self, x: Tensor) -> Tensor:
        """Take in values and return which are not 0, as 1 or True; raises `CountingError` if one is not finite."""
        lowest, highest = (float(end) for end in x.aminmax())
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise CountingError(
                "takes in values that are not finite; check the weights and inputs of the layers before it"
            )
        self.inputs += x.numel()
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        self.whole = self.whole and self.largest <= MOST_LEVELS and is_whole(x)
        spikes = self.whole and lowest >= -1 and highest <= 1
        nonzero = x if spikes and lowest >= 0 else x.abs() if spikes else x.bool()
        found = int(sum_over(nonzero))
        self.nonzero += found
        if self.whole:
            self.total += found if spikes else int(x.abs().sum(dtype=torch.float64))
        return nonzero

    @property
    def largest(self) -> float:
        """Largest magnitude."""
        return max(-self.lowest, self.highest, 0.0)

    @property
    def are_spikes(self) -> bool:
        """True if every value was −1, 0 or 1."""
        return self.whole and self.largest <= 1

    @property
    def reason(self) -> str:
        """What they were, in words."""
        if not self.whole:
            return f"real, from {self.lowest:.3g} to {self.highest:.3g}"
        signed = ", signed" if self.lowest < 0 else ""
        return f"spikes{signed}" if self.are_spikes else f"whole numbers up to {self.largest:.0f}{signed}"


def is_whole(x: Tensor) -> bool:
    """Return whether every value is a whole number."""
    return not x.is_floating_point() or torch.equal(x, x.round())


def sum_over(counts: Tensor, space: int = 0) -> Tensor:
    """Sum a block of small whole numbers over all but the last `space` dimensions, exactly."""
    floats = torch.float32 if counts.numel() <= 2**24 else torch.float64
    dtype = floats if counts.is_floating_point() else torch.int32
    return counts.sum(tuple(range(counts.dim() - space)), dtype=dtype).to("cpu", torch.float64)


@final
class Fan(NamedTuple):
    """The weights that every input of a layer meets.

    Attributes:
        outputs: of a group, or of a linear layer.
        reach: in every dimension of space, the places of the kernel that an input meets: 3, or 2 at a border.
    """

    outputs: int
    reach: tuple[Tensor, ...] = ()

    def pairs(self, counts: Tensor) -> int:
        """Sum counts of inputs, each with all the weights that it meets; space comes last."""
        summed = sum_over(counts, len(self.reach))
        for reach in reversed(self.reach):
            summed = summed @ reach
        return int(summed) * self.outputs


class Product(NamedTuple):
    """One call of an operator that multiplies: an input by a layer's weights, or two activations.

    Attributes:
        x: the input, or the first activation.
        dense: multiply-accumulates, those with zeros and padding too.
        outputs: values returned.
        fan: the weights that an input meets; None for two activations.
        other: the second activation.
        timesteps: of every image in this call; None if the shape does not tell.
    """

    x: Tensor
    dense: int
    outputs: int
    fan: Fan | None
    other: Tensor | None = None
    timesteps: int | None = None


@final
@dataclass
class Synapses:
    """Products of one layer over all batches so far, exact; counts as in `SynapticLayer`."""

    branch: Branch | None = None
    dense: int = 0
    used: int = 0
    bits: int = 0
    outputs: int = 0
    values: Values = field(default_factory=Values)
    others: Values | None = None
    timesteps: int | None = 0
    codes: Codes | None = field(default_factory=Codes)
    _sum: Tensor | None = None  # over the timesteps of this batch so far
    _fan: Fan | None = None  # of the last call

    def add(self, product: Product) -> None:
        """Count one call, of any batch and number of timesteps."""
        self.dense += product.dense
        self.outputs += product.outputs
        if product.fan is None:
            self._add_two(product)
            return
        for block in blocks(product.x):
            nonzero = self.values.add(block)
            used = product.fan.pairs(nonzero)
            self.used += used
            if self.values.whole:
                self.bits += used if nonzero.is_floating_point() else product.fan.pairs(set_bits(block))
        self._sum_over_time(product.x, product.timesteps, product.fan)

    def _add_two(self, product: Product) -> None:
        """Count the pairs of two activations that are both not 0: (…, M, K) times (…, K, N)."""
        assert product.other is not None
        self.timesteps = self.codes = None
        self.others = self.others or Values()
        if product.dense:
            nonzero, other = self.values.add(product.x), self.others.add(product.other)
            self.used += int((nonzero.sum(-2, dtype=torch.float64) * other.sum(-1, dtype=torch.float64)).sum())

    def _sum_over_time(self, x: Tensor, timesteps: int | None, fan: Fan) -> None:
        """Add up the spikes of every input over time, for as long as there are only spikes."""
        if timesteps is None or self.timesteps is None:
            self.timesteps = self.codes = self._sum = None
            return
        self.timesteps += timesteps
        summed = None
        if self.codes is not None and self.values.are_spikes:
            summed = x.unflatten(0, (timesteps, -1)).sum(0, dtype=torch.int16)
        if summed is None or (self._sum is not None and self._sum.shape != summed.shape):  # maps of several sizes
            self.codes = self._sum = None
            return
        self._sum = summed if self._sum is None else self._sum + summed
        self._fan = fan

    def end_batch(self) -> int | None:
        """Count the spikes of this batch in other codes; returns its timesteps, None if the shapes do not tell."""
        timesteps, self.timesteps = self.timesteps, None if self.timesteps is None else 0
        if self._sum is not None and self.codes is not None and self._fan is not None:
            counts, self._sum = self._sum.abs(), None
            most = max(self.codes.most, int(counts.max())) if counts.numel() else self.codes.most
            digits = self.codes.digits + self._fan.pairs(set_bits(counts.clamp(max=MOST_LEVELS)))
            events = self.codes.events + self._fan.pairs(counts != 0)
            self.codes = Codes(max(self.codes.timesteps, timesteps or 0), most, self.used, digits, events)
        return timesteps

    def to_layer(self, name: str) -> SynapticLayer:
        """Return the counts under the layer's name: accumulates if one side was spikes, else MACs."""
        values, others = self.values, self.others
        spikes = values.are_spikes or (others is not None and others.are_spikes)
        operation, counted = ("AC", self.used) if spikes else ("MAC", self.dense)
        levels = int(max(1.0, values.largest)) if values.whole and others is None else None
        return SynapticLayer(
            name=name,
            branch=self.branch or ("spiking" if spikes else "analog"),
            operation=operation,
            reason=self._reason(),
            dense=self.dense,
            used=self.used,
            counted=counted,
            nonzero=values.nonzero + (others.nonzero if others else 0),
            outputs=self.outputs,
            levels=levels,
            bits=self.bits if levels else None,
            inputs=values.inputs + (others.inputs if others else 0),
            total=values.total if levels else None,
            codes=self.codes if spikes and self.codes and self.codes.timesteps else None,
        )

    def _reason(self) -> str:
        values, others = self.values, self.others
        if others is None:
            return f"input is {values.reason}"
        if values.are_spikes and others.are_spikes:
            return "spikes meet spikes: an AND and an addition"
        return f"two activations: {values.reason}; {others.reason}"


def set_bits(x: Tensor) -> Tensor:
    """Return the number of binary digits 1 of whole numbers up to 255, whatever their sign."""
    return _SET_BITS.to(x.device)[x.abs().long()]


# Operators ------------------------------------------------------------------------------------------------------------


@lru_cache(4096)
def _reach(
    inputs: int, outputs: int, kernel: int, stride: int, padding: int, dilation: int, transposed: bool
) -> Tensor:
    """Count in one dimension the places of a kernel that every input meets."""
    ends = outputs if not transposed else inputs
    place = torch.arange(ends)[:, None] * stride - padding + torch.arange(kernel) * dilation
    if transposed:
        return ((place >= 0) & (place < outputs)).sum(1).double()
    return torch.bincount(place[(place >= 0) & (place < inputs)], minlength=inputs).double()


def convolution(args: Sequence[Any], images: int, output: Tensor) -> Product:
    """Read a call of aten::convolution: (T·N, C, *space)."""
    x, weight, _, *settings = args
    fan_in = weight[0].numel()
    dense = (x if settings[3] else output).numel() * fan_in  # a transposed one spreads every input
    timesteps = len(x) // images if len(x) % images == 0 else None
    space = x.dim() - 2
    geometry = [list(sizes) * (space // len(sizes)) for sizes in settings[:3]]  # (k,) stands for all dimensions
    reach = map(_reach, x.shape[2:], output.shape[2:], weight.shape[2:], *geometry, repeat(settings[3]))
    fan_out = weight.shape[1] if settings[3] else weight.shape[0] // settings[-1]
    return Product(x, dense, output.numel(), Fan(fan_out, tuple(reach)), timesteps=timesteps)


def linear_timesteps(shape: Sequence[int], images: int, usual: int) -> int | None:
    """Tell T from the shape that a linear layer takes: (N, …), (T, N, …) or (T·N, …); if T = N, from the usual T."""
    time_first = len(shape) > 2 and shape[1] == images
    if shape[0] == images:
        return images if time_first and usual == images else 1
    if time_first:
        return shape[0]
    return shape[0] // images if shape[0] % images == 0 else None
