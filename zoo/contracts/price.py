"""Operations that an encoder, a decoder or a neuron is charged with. Imports no torch.

A component declares its `prices`; one that declares none is charged with the default of its kind. A comparison counts
as an accumulate (it is a subtraction), a multiplication on its own as a multiply-accumulate. Convolutions and linear
layers inside a component are counted as such, beside its prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Work:
    """Multiply-accumulates and accumulates."""

    macs: int = 0
    acs: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.macs + other.macs, self.acs + other.acs)

    def __mul__(self, times: int) -> Work:
        return Work(self.macs * times, self.acs * times)


@final
@dataclass(frozen=True)
class Price:
    """Price of one operation; T timesteps hold T times the values.

    Attributes:
        operation: name in reports.
        read: for every value that it reads: an encoder activations, a decoder spikes, a neuron currents.
        written: for every value that it writes.
        reason: for the price.
    """

    operation: str
    read: Work = Work()
    written: Work = Work()
    reason: str = ""


# Prices that components share; others make their own.

RANGE_STEP = Price(
    "range step",
    Work(1, 2),
    reason="looks for lo and hi (2 comparisons); (x − lo)·255/(hi − lo) is one multiply-accumulate",
)
BINARY_DIGITS = Price("bit-plane encoder", Work(acs=1), reason="rounds; the binary digits are then there to be read")
THRESHOLDS = Price(
    "other encoder", Work(), Work(acs=1), "compares with a threshold in every timestep; assumed of a plugin's too"
)
SHIFTED_SUM = Price(
    "decoder",
    Work(acs=1),
    Work(macs=1),
    "adds a shifted value in every timestep; one scaling, by 1/255 or 1/T, at the end",
)
WEIGHTED_SUM = Price("other decoder", Work(macs=1), reason="assumed of a plugin's: a weighted sum over timesteps")
INTEGRATION = Price("integrate-and-fire neuron", Work(acs=2), reason="adds the current, compares with the threshold")
DIGITS = Price(
    "radix neuron",
    Work(acs=1),
    reason="adds T − 1 shifted currents to the first, and clips the sum; the binary digits are then there to be read",
)
LEAKY_INTEGRATION = Price(
    "leaky or other neuron",
    Work(1, 2),
    reason="x − v, times 1/τ onto v, compared with the threshold; assumed of a plugin's too",
)

ENCODER_PRICES = (RANGE_STEP, THRESHOLDS)
DECODER_PRICES = (WEIGHTED_SUM,)
NEURON_PRICES = (LEAKY_INTEGRATION,)
"""Of encoders, decoders and neurons that declare none."""
