"""The spike rate of every layer of a weight, for the photograph that comes with the package."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

from zoo.catalog.catalog import Catalog
from zoo.catalog.sources import PackageFile
from zoo.contracts.encoder import Encoder
from zoo.contracts.neuron import Neuron
from zoo.data.images import prepare, read_image, sample_photographs
from zoo.factory import open_model
from zoo.inference.show import record
from zoo.site.results import Result

RGB = 3


@final
@dataclass(frozen=True)
class LayerRates:
    """What is known of a weight's layers.

    Attributes:
        photograph: the file that was classified; empty where none was.
        rates: layer name → mean spikes per neuron per timestep, in [0, 1], in the order of execution.
        why_none: why there are no rates, in a sentence; empty where there are.
    """

    photograph: str = ""
    rates: dict[str, float] = field(default_factory=dict)
    why_none: str = ""

    @property
    def highest(self) -> float:
        """The end of a bar chart's axis: the next tenth above all rates."""
        return next(tenth / 10 for tenth in range(1, 11) if tenth / 10 >= max(self.rates.values(), default=0))


def layer_rates(result: Result, catalog: Catalog) -> LayerRates:
    """Classify the photograph with a weight whose file is installed, and note each layer's spike rate.

    Raises:
        WeightError: its bytes are not those of its record.
    """
    weight = result.record
    if weight.figures.timesteps == 1:
        return LayerRates(why_none="This network has no spikes.")
    if not isinstance(weight.location, PackageFile):
        return LayerRates(why_none="The weight is not part of an installed package, so its layers were not run.")
    if weight.in_chans != RGB:
        return LayerRates(why_none=f"The network takes {weight.in_chans} channels, and the photograph has {RGB}.")
    network = open_model(weight.name, catalog=catalog).build_settled()
    modules = list(network.modules())
    if not all(any(isinstance(module, kind) for module in modules) for kind in (Neuron, Encoder)):
        return LayerRates(why_none="None of its layers is one of the zoo's spiking neurons, whose rates are counted.")
    photograph = sample_photographs()[0]
    image = prepare(read_image(photograph), weight.preprocessing)
    return LayerRates(photograph.name, record(network, image).rates)
