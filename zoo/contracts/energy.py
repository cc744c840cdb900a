"""Contract of an energy model: picojoules from operations that were counted. Imports no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, final

from zoo.contracts.price import Work

if TYPE_CHECKING:
    from torch import Tensor

    from zoo.contracts.classifier import ImageClassifier


@final
@dataclass(frozen=True)
class Codes:
    """A layer's input spikes, added up over T, as they would cost in other codes; sums over all images.

    Attributes:
        timesteps: T.
        most: the largest number of spikes of one input and image.
        unary: pairs of a spike and a weight: additions, as it is.
        digits: pairs of a binary digit 1 of a number of spikes and a weight: additions, of digits sent as spikes in
            `most.bit_length()` timesteps, or of an integer shifted and added at once.
        events: pairs of a number of spikes that is not 0 and a weight: multiply-accumulates of a graded event.
    """

    timesteps: int = 0
    most: int = 0
    unary: int = 0
    digits: int = 0
    events: int = 0


@final
@dataclass(frozen=True)
class SynapticLayer:
    """A convolution, a linear layer or a product of two activations; counts are sums over all images and timesteps.

    Attributes:
        name: of the module; of a product without a module of its own also the operator and the shape.
        branch: 'analog' or 'spiking'.
        operation: 'AC' if every value of one side was −1, 0 or 1, else 'MAC'.
        reason: for the operation: what the values were.
        dense: multiply-accumulates with every weight, zeros and padding too.
        used: pairs of a nonzero input and a weight, or of two nonzero activations.
        counted: `used` accumulates, or `dense` multiply-accumulates.
        nonzero: nonzero inputs.
        outputs: values returned.
        levels: the largest magnitude of an input, if all are whole numbers up to 255, such as spikes or levels of a
            quantised activation; else None.
        bits: pairs of a set bit of an input and a weight, if there are levels; else None.
        inputs: values that came in.
        total: sum of the magnitudes of the inputs, if there are levels; else None.
        codes: of inputs that are spikes; else None.
    """

    name: str
    branch: Literal["analog", "spiking"]
    operation: str
    reason: str
    dense: int
    used: int
    counted: int
    nonzero: int
    outputs: int
    levels: int | None = None
    bits: int | None = None
    inputs: int = 0
    total: int | None = None
    codes: Codes | None = None


@final
@dataclass(frozen=True)
class SpikeRate:
    """Spikes of a neuron layer or an encoder, over all images.

    Attributes:
        name: of the module.
        kind: class of the module.
        encoder: True for an encoder, which the network's mean rate leaves out.
        spikes: number of spikes.
        values: neurons times timesteps times images.
    """

    name: str
    kind: str
    encoder: bool
    spikes: int
    values: int

    @property
    def rate(self) -> float:
        """Spikes per neuron and timestep; 0 if there are no values."""
        return self.spikes / self.values if self.values else 0.0


@dataclass(frozen=True)
class Operations:
    """Counts of a network, summed over images and timesteps.

    Attributes:
        images: number of images.
        synapses: convolutions and linear layers.
        rates: encoders and neuron layers.
        other: work outside convolutions and linear layers.
        repeated: part of `other` that every timestep repeats.
    """

    images: int
    synapses: tuple[SynapticLayer, ...]
    rates: tuple[SpikeRate, ...]
    other: Work
    repeated: Work


@final
@dataclass(frozen=True)
class Picojoules:
    """Average energy of an image.

    Attributes:
        total: of all operations.
        spikes: part that grows with the number of spikes.
        timesteps: part that grows with T at the same spike rate.
    """

    total: float
    spikes: float
    timesteps: float


@final
@dataclass(frozen=True)
class Prices:
    """Picojoules by operation, and the energy that follows from them.

    Attributes:
        mac: a multiply-accumulate.
        ac: an accumulate.
        synapse: an accumulate that a spike triggers in a convolution or linear layer.
        access: a 32-bit word read from memory or written to it.
        skips_zeros: charge no multiply-accumulate whose input is 0.
        shifts: charge an input of a few levels as `synapse` for every set bit of it, instead of a multiplication.
        multiplier_bit: a multiplication by an input of a few levels, for every bit that its levels need; its sum costs
            `synapse`. None multiplies it as any other input.
    """

    mac: float
    ac: float
    synapse: float
    access: float = 0.0
    skips_zeros: bool = False
    shifts: bool = False
    multiplier_bit: float | None = None

    def arithmetic(self, work: Work) -> float:
        """Return the energy of work that no spike triggers."""
        return self.mac * work.macs + self.ac * work.acs

    def layer(self, layer: SynapticLayer) -> float:
        """Return the energy of a convolution or linear layer.

        A spike is read once; for each of its weights the weight is read, and the membrane potential read and written;
        so is it for an activation that is shifted and added. A multiply-accumulate reads a weight and an input, and an
        output is written once.
        """
        accesses = layer.nonzero + 3 * layer.used
        if layer.operation == "AC":
            return self.synapse * layer.used + self.access * accesses
        if self.shifts and layer.bits is not None:
            return self.synapse * layer.bits + self.access * accesses
        macs = layer.used if self.skips_zeros else layer.dense
        price = self.mac
        if self.multiplier_bit is not None and layer.levels is not None:
            price = self.multiplier_bit * layer.levels.bit_length() + self.synapse
        return price * macs + self.access * (2 * macs + layer.outputs)

    def estimate(self, operations: Operations) -> Picojoules:
        """Return the energy of one image, averaged over all images.

        Example:
            >>> operations = Operations(images=2, synapses=(), rates=(), other=Work(10, 4), repeated=Work(0, 4))
            >>> Prices(mac=4.6, ac=0.9, synapse=0.9).estimate(operations)
            Picojoules(total=24.8, spikes=0.0, timesteps=1.8)
        """
        potentials = 2 * self.access * sum(rate.values for rate in operations.rates if not rate.encoder)
        spikes = self.access * sum(rate.spikes for rate in operations.rates)
        total = sum(map(self.layer, operations.synapses)) + potentials + spikes + self.arithmetic(operations.other)
        by_spikes = sum(self.layer(layer) for layer in operations.synapses if layer.operation == "AC") + spikes
        by_time = sum(self.layer(layer) for layer in operations.synapses if layer.branch == "spiking")
        by_time += potentials + spikes + self.arithmetic(operations.repeated)
        return Picojoules(total / operations.images, by_spikes / operations.images, by_time / operations.images)


class EnergyModel(ABC):
    """A published energy model: one more row in `zoo profile`, under the name of its entry point.

    One object is made for each network. A model of counted operations implements `estimate` alone, usually as
    `Prices(…).estimate(operations)`; one that counts for itself runs the network in `measure`.

    Attributes:
        source: publication of its prices, and of its rules if they are not ours.
        prices: in words.
        charges: operations that it counts.
        leaves_out: operations that it does not count.
        saturates: True if energy grows more slowly than the number of spikes.
        skips_zeros: True if it skips zeros of spikes and of all other activations alike.
    """

    api_version: ClassVar[int]
    source: ClassVar[str]
    prices: ClassVar[str]
    charges: ClassVar[str]
    leaves_out: ClassVar[str]
    saturates: ClassVar[bool] = False
    skips_zeros: ClassVar[bool] = False

    def __init__(self, network: ImageClassifier) -> None:
        self.network = network

    def measure(self, images: Tensor) -> None:  # noqa: B027 (most models need no more than the counts)
        """Observe the network on a batch (N, C, H, W); called for every batch, before `estimate`."""

    @abstractmethod
    def estimate(self, operations: Operations) -> Picojoules:
        """Return the energy of one image.

        Args:
            operations: counts over all images.

        Raises:
            CompositionError: the model does not apply to this network; the message says why.
        """
