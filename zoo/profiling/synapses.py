"""Products counted: pairs of a nonzero input and a weight, or of two activations that are not 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from zoo.contracts.classifier import Branch
from zoo.contracts.energy import Codes, SynapticLayer
from zoo.errors import CountingError

MOST_LEVELS = 255
_SET_BITS = torch.tensor([value.bit_count() for value in range(MOST_LEVELS + 1)])

Pairs = Callable[[Tensor], int]
"""Sums counts of a shape that a layer takes over all pairs of an input and a weight."""


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

    def add(self, x: Tensor, nonzero: int) -> None:
        """Take in the values of one call; raises `CountingError` if one is not finite."""
        if not x.numel():
            return
        lowest, highest = (float(end) for end in x.aminmax())
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            raise CountingError("takes in values that are not finite")
        self.inputs += x.numel()
        self.nonzero += nonzero
        self.lowest, self.highest = min(self.lowest, lowest), max(self.highest, highest)
        self.whole = self.whole and self.largest <= MOST_LEVELS and is_whole(x)
        self.total += int(x.abs().sum(dtype=torch.float64)) if self.whole else 0

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
    return not x.is_floating_point() or bool((x == x.round()).all())


class Product(NamedTuple):
    """One call of an operator that multiplies: an input by a layer's weights, or two activations.

    Attributes:
        x: the input, or the first activation.
        dense: multiply-accumulates, those with zeros and padding too.
        outputs: values returned.
        pairs: of an input and a weight; None for two activations.
        other: the second activation.
        timesteps: of every image in this call; None if the shape does not tell.
    """

    x: Tensor
    dense: int
    outputs: int
    pairs: Pairs | None
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
    _pairs: Pairs | None = None  # of the last call

    def add(self, product: Product) -> None:
        """Count one call, of any batch and number of timesteps."""
        x = product.x
        self.dense += product.dense
        self.outputs += product.outputs
        nonzero = x != 0
        self.values.add(x, int(nonzero.sum()))
        if product.pairs is None:
            self._add_two(nonzero, product)
            return
        used = product.pairs(nonzero)
        self.used += used
        if self.values.whole:
            self.bits += used if self.values.are_spikes else product.pairs(set_bits(x))
        self._sum_over_time(x, product)

    def _add_two(self, nonzero: Tensor, product: Product) -> None:
        """Count the pairs of two activations that are both not 0: (…, M, K) times (…, K, N)."""
        assert product.other is not None
        other = product.other != 0
        self.others = self.others or Values()
        self.others.add(product.other, int(other.sum()))
        self.used += int((nonzero.sum(-2) * other.sum(-1)).sum())
        self.timesteps = self.codes = None

    def _sum_over_time(self, x: Tensor, product: Product) -> None:
        """Add up the spikes of every input over time, for as long as there are only spikes."""
        if product.timesteps is None or self.timesteps is None:
            self.timesteps = self.codes = self._sum = None
            return
        self.timesteps += product.timesteps
        if self.codes is None or not self.values.are_spikes:
            self.codes = self._sum = None
            return
        summed = x.unflatten(0, (product.timesteps, -1)).sum(0, dtype=torch.int16)
        self._sum = summed if self._sum is None else self._sum + summed
        self._pairs = product.pairs

    def end_batch(self) -> int | None:
        """Count the spikes of this batch in other codes; returns its timesteps, None if the shapes do not tell."""
        timesteps, self.timesteps = self.timesteps, None if self.timesteps is None else 0
        if self._sum is not None and self.codes is not None and self._pairs is not None:
            counts, self._sum = self._sum.abs(), None
            most = max(self.codes.most, int(counts.max())) if counts.numel() else self.codes.most
            digits = self.codes.digits + self._pairs(_SET_BITS.to(counts.device)[counts.clamp(max=MOST_LEVELS).long()])
            events = self.codes.events + self._pairs(counts != 0)
            self.codes = Codes(max(self.codes.timesteps, timesteps or 0), most, self.used, digits, events)
        return timesteps

    def to_layer(self, name: str) -> SynapticLayer:
        """Return the counts under the layer's name: accumulates if one side was spikes, else MACs."""
        values, others = self.values, self.others
        spikes = values.are_spikes or (others is not None and others.are_spikes)
        operation, counted = ("AC", self.used) if spikes else ("MAC", self.dense)
        levels = int(max(1.0, values.largest)) if values.whole and others is None else None
        return SynapticLayer(
            name=name.removeprefix("."),
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


def convolution_pairs(weight: Tensor, settings: Sequence[Any]) -> Pairs:
    """Return the sum over pairs of a convolution; stride, padding, dilation, groups and transposition are exact."""
    *geometry, groups = settings
    transposed = geometry[3]
    fan_out = weight.shape[1] if transposed else weight.shape[0] // groups
    shape = (weight.shape[0], 1, *weight.shape[2:]) if transposed else (groups, *weight.shape[1:])
    ones = torch.ones(shape, dtype=torch.float64)  # of one output in every group

    def pairs(counts: Tensor) -> int:
        summed = counts.sum(0, keepdim=True, dtype=torch.float64).cpu()
        return int(torch.ops.aten.convolution(summed, ones, None, *geometry, groups).sum()) * fan_out

    return pairs


def convolution(args: Sequence[Any], images: int, output: Tensor) -> Product:
    """Read a call of aten::convolution: (T·N, C, *space)."""
    x, weight, _, *settings = args
    fan_in = weight[0].numel()
    dense = (x if settings[3] else output).numel() * fan_in  # a transposed one spreads every input
    timesteps = len(x) // images if len(x) % images == 0 else None
    return Product(x, dense, output.numel(), convolution_pairs(weight, settings), timesteps=timesteps)


def product_with_weights(x: Tensor, fan_out: int, timesteps: int | None, output: Tensor) -> Product:
    """Read a product of inputs with a layer's weights, `fan_out` of them for each."""
    return Product(x, x.numel() * fan_out, output.numel(), lambda counts: int(counts.sum()) * fan_out, None, timesteps)


def product_of_two(x: Tensor, other: Tensor, output: Tensor) -> Product:
    """Read a product (…, M, K) × (…, K, N) of two activations."""
    return Product(x, x.numel() * other.shape[-1], output.numel(), None, other)


def linear_timesteps(shape: Sequence[int], images: int) -> int | None:
    """Tell T from the shape that a linear layer takes: (N, …), (T, N, …) or (T·N, …)."""
    if shape[0] == images:
        return 1
    if len(shape) > 2 and shape[1] == images:
        return shape[0]
    return shape[0] // images if shape[0] % images == 0 else None
