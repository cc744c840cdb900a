"""What images set off in a network: spike rates, synaptic operations, and all other work, added up."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, final

from zoo.contracts.classifier import ImageClassifier
from zoo.contracts.encoder import Encoder
from zoo.contracts.price import Work
from zoo.profiling.branches import Branch, branch_of
from zoo.profiling.recorder import Recorder, Uncounted
from zoo.profiling.rules import Part, Rule
from zoo.profiling.synapses import Synapses


@final
@dataclass(frozen=True)
class SynapticLayer:
    """A convolution or linear layer; whole numbers over all images and timesteps.

    Attributes:
        name: the module's.
        branch: 'analog' or 'spiking'.
        operation: 'AC' where every input was 0 or 1, else 'MAC'.
        reason: why.
        dense: multiply-accumulates with every weight, zeros and padding too.
        used: pairs of a nonzero input and a weight.
        counted: what it is charged with: `used` accumulates, or `dense` multiply-accumulates.
        nonzero: nonzero inputs.
        outputs: values returned.
    """

    name: str
    branch: Branch
    operation: str
    reason: str
    dense: int
    used: int
    counted: int
    nonzero: int
    outputs: int


@final
@dataclass(frozen=True)
class SpikeRate:
    """Spikes of a neuron layer or an encoder, over all images.

    Attributes:
        name: the module's.
        kind: its class.
        encoder: whether it is an encoder; the network's mean rate is that of its neurons.
        spikes: how many.
        values: neurons times timesteps times images.
    """

    name: str
    kind: str
    encoder: bool
    spikes: int
    values: int

    @property
    def rate(self) -> float:
        """Spikes per neuron and timestep; 0 where there are no values."""
        return self.spikes / self.values if self.values else 0.0


@final
@dataclass(frozen=True)
class OperationCounts:
    """What a number of images set off.

    Attributes:
        images: how many.
        synapses: every convolution and linear layer.
        rates: every encoder and neuron layer.
        elementwise: all other work, by the rule that it was counted with.
        repeated: of that, what every timestep repeats: neurons, what lies in the spiking branch, spikes into and out of
            coders.
        uncounted: operations without a rule, with numbers of calls.
    """

    images: int
    synapses: tuple[SynapticLayer, ...]
    rates: tuple[SpikeRate, ...]
    elementwise: dict[Rule, Work]
    repeated: Work
    uncounted: dict[Uncounted, int]

    @property
    def spike_rate(self) -> float | None:
        """Spikes per neuron and timestep over all neuron layers; None without neurons."""
        layers = [layer for layer in self.rates if not layer.encoder]
        values = sum(layer.values for layer in layers)
        return sum(layer.spikes for layer in layers) / values if values else None

    @property
    def synaptic(self) -> Work:
        """Synaptic operations of all images."""
        counted = {kind: sum(s.counted for s in self.synapses if s.operation == kind) for kind in ("MAC", "AC")}
        return Work(counted["MAC"], counted["AC"])

    def work(self) -> dict[Part, Work]:
        """All that was counted, by part."""
        parts = {part: Work() for part in Part}
        parts[Part.SYNAPSES] = self.synaptic
        for rule, work in self.elementwise.items():
            parts[rule.part] += work
        return parts

    def to_json(self) -> dict[str, Any]:
        """Whole numbers over all images; rates are averages."""
        synaptic = self.synaptic
        return {
            "images": self.images,
            "spike_rate": self.spike_rate,
            "synaptic_macs": synaptic.macs,
            "synaptic_acs": synaptic.acs,
            "synapses": [asdict(layer) | {"counted_per_image": layer.counted / self.images} for layer in self.synapses],
            "rates": [asdict(layer) | {"rate": layer.rate} for layer in self.rates],
            "elementwise": [
                {"operation": rule.operation, "part": str(rule.part), **asdict(work), "reason": rule.reason}
                for rule, work in self.elementwise.items()
            ],
            "not_counted": [asdict(work) | {"calls": calls} for work, calls in self.uncounted.items()],
        }


def count_operations(model: ImageClassifier, recorder: Recorder, images: int) -> OperationCounts:
    """What a recorder has seen of so many images, in the order of the network."""
    modules = dict(model.named_modules())
    synapses = (_synaptic_layer(name, branch_of(name, model), synapses) for name, synapses in recorder.synapses.items())
    rates = (
        SpikeRate(name, type(modules[name]).__name__, isinstance(modules[name], Encoder), s.spikes, s.values)
        for name, s in recorder.spikes.items()
    )
    order = {name: place for place, name in enumerate(modules)}
    return OperationCounts(
        images,
        tuple(sorted(synapses, key=lambda layer: order[layer.name])),
        tuple(sorted(rates, key=lambda layer: order[layer.name])),
        dict(recorder.work),
        recorder.repeated,
        dict(recorder.uncounted),
    )


def _synaptic_layer(name: str, branch: Branch, synapses: Synapses) -> SynapticLayer:
    counts = (synapses.dense, synapses.used, synapses.counted, synapses.nonzero, synapses.outputs)
    return SynapticLayer(name, branch, synapses.operation, synapses.reason(branch), *counts)
