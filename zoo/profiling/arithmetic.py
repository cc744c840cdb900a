"""The zoo's own energy models, from counted operations at published prices of 45 nm.

Arithmetic in 32-bit floating point and in 8-bit integers, all of it or without zeros; activations of few levels shifted
and added, or multiplied by few bits; and traffic to on-chip memory.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, final

from zoo.contracts.energy import EnergyModel, Operations, Picojoules, Prices

HOROWITZ = "Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323 (45 nm)"
SOURCE = "Horowitz, ISSCC 2014, doi:10.1109/ISSCC.2014.6757323 (45 nm, 32-bit floating point)"
FLOAT32 = Prices(mac=4.6, ac=0.9, synapse=0.9)
"""32-bit floating point: a multiplication, 3.7 pJ, and an addition, 0.9 pJ."""
INT8 = Prices(mac=0.23, ac=0.03, synapse=0.03)
"""8-bit integers: a multiplication, 0.2 pJ, and an addition, 0.03 pJ."""
FORMULA = f"energy = {FLOAT32.mac} pJ × MACs + {FLOAT32.ac} pJ × ACs: arithmetic alone, no memory traffic"


class _Priced(EnergyModel):
    """Energy from the counted operations alone."""

    api_version = 1
    source = HOROWITZ
    costs: ClassVar[Prices]

    @final
    def estimate(self, operations: Operations) -> Picojoules:
        """Energy of one image."""
        return self.costs.estimate(operations)


_ALL_PRODUCTS = "zeros that are multiplied: only spikes are skipped where they are 0, not activations"
_SKIPPED = "zeros skipped as in EIE, Han and others, 2016, arXiv:1602.01528"
_BITS = "an addition for every set bit as in Bit-Pragmatic, Albericio and others, 2017, arXiv:1610.06920"
_ELSE = "memory traffic, state of neurons, leakage"


@final
class ArithmeticFloat32(_Priced):
    """Arithmetic in 32-bit floating point."""

    costs = FLOAT32
    prices = "4.6 pJ a MAC, 0.9 pJ an AC"
    charges = "every operation, in 32-bit floating point, MACs with zeros too"
    leaves_out = f"{_ELSE}; {_ALL_PRODUCTS}"


@final
class ArithmeticInt8(_Priced):
    """Arithmetic in 8-bit integers."""

    costs = INT8
    prices = "0.23 pJ a MAC (multiplication 0.2, addition 0.03), 0.03 pJ an AC"
    charges = "every operation, as if in 8-bit integers, accumulators too, MACs with zeros too"
    leaves_out = f"{_ELSE}, wider accumulators, what quantising costs in accuracy; {_ALL_PRODUCTS}"


@final
class SparseFloat32(_Priced):
    """Arithmetic in 32-bit floating point, zeros skipped on both sides."""

    costs = replace(FLOAT32, skips_zeros=True)
    skips_zeros = True
    source = f"{HOROWITZ}; {_SKIPPED}"
    prices = ArithmeticFloat32.prices
    charges = "every operation but MACs whose input is 0, in 32-bit floating point"
    leaves_out = f"{_ELSE}, finding what is not 0"


@final
class SparseInt8(_Priced):
    """Arithmetic in 8-bit integers, zeros skipped on both sides."""

    costs = replace(INT8, skips_zeros=True)
    skips_zeros = True
    source = SparseFloat32.source
    prices = ArithmeticInt8.prices
    charges = "every operation but MACs whose input is 0, as if in 8-bit integers, accumulators too"
    leaves_out = f"{_ELSE}, finding what is not 0, wider accumulators, what quantising costs in accuracy"


@final
class ShiftAddFloat32(_Priced):
    """Activations of few levels shifted and added, a 32-bit addition for every set bit."""

    costs = replace(FLOAT32, skips_zeros=True, shifts=True)
    skips_zeros = True
    source = f"{HOROWITZ}; {_BITS}; {_SKIPPED}"
    prices = "0.9 pJ an addition, 4.6 pJ a MAC of a real input"
    charges = "an addition for every spike and weight, and for every set bit of a few-levelled activation and weight"
    leaves_out = f"{_ELSE}, shifting, finding what is not 0"


@final
class ShiftAddInt8(_Priced):
    """Activations of few levels shifted and added, an 8-bit addition for every set bit."""

    costs = replace(INT8, skips_zeros=True, shifts=True)
    skips_zeros = True
    source = ShiftAddFloat32.source
    prices = "0.03 pJ an addition, 0.23 pJ a MAC of a real input"
    charges = ShiftAddFloat32.charges
    leaves_out = f"{ShiftAddFloat32.leaves_out}, wider accumulators, what quantising weights costs in accuracy"


@final
class LowBit(_Priced):
    """Activations of few levels multiplied by a multiplier of as many bits as they need, with 32-bit sums."""

    costs = Prices(mac=0.3, ac=0.1, synapse=0.1, skips_zeros=True, multiplier_bit=0.2 / 8)
    skips_zeros = True
    source = (
        f"{HOROWITZ}; a multiplication in proportion to the bits of the activation, as in Stripes, Judd and others, "
        f"2016, doi:10.1109/MICRO.2016.7783722; {_SKIPPED}"
    )
    prices = "0.1 pJ an addition, 0.2·b/8 + 0.1 pJ a MAC of an activation of b bits; 8 bits if it is real"
    charges = "every operation but MACs whose input is 0: 8-bit weights, integer sums of 32 bits"
    leaves_out = f"{_ELSE}, finding what is not 0, what quantising weights costs in accuracy"


_ACCESS = "an access: Han and others, 2015, arXiv:1506.02626, figure 1 (45 nm); what is accessed: our own rule"
_REUSE = (
    "larger memories (DRAM: 640 pJ a word), reuse of what was read, addressing, traffic of pooling, additions, coders"
)


@final
class MemoryFloat32(_Priced):
    """Arithmetic in 32-bit floating point, and traffic to on-chip memory."""

    costs = replace(FLOAT32, access=5.0)
    source = f"{HOROWITZ}; {_ACCESS}"
    prices = "arithmetic-float32, and 5 pJ for a 32-bit word of on-chip SRAM read or written"
    charges = (
        "beside arithmetic, for every spike and weight that meet: weight read, membrane potential read and written; "
        "for every MAC, with zeros too: weight and input read; outputs and spikes written once, spikes read once a "
        "layer; the potential of every neuron read and written in every timestep"
    )
    leaves_out = f"{_REUSE}; {_ALL_PRODUCTS}"


@final
class MemoryShiftAdd(_Priced):
    """Shifted and added, and traffic to on-chip memory by the rule of spikes."""

    costs = replace(FLOAT32, access=5.0, skips_zeros=True, shifts=True)
    skips_zeros = True
    source = f"{HOROWITZ}; {_BITS}; {_ACCESS}"
    prices = "shift-add-float32, and 5 pJ for a 32-bit word of on-chip SRAM read or written"
    charges = (
        "beside arithmetic, for every spike, or activation of few levels that is not 0, and weight that meet: weight "
        "read, sum read and written; for every MAC of another input but 0: weight and input read; the rest as "
        "memory-float32"
    )
    leaves_out = _REUSE
