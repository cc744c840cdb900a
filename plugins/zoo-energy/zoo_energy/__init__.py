"""Published models of energy for has8-zoo, beside its own: spikingjelly's, SpikeSim's and Loihi's."""

from zoo_energy.loihi import LoihiMeter
from zoo_energy.spikingjelly import SpikingjellyMeter

__all__ = ["LoihiMeter", "SpikingjellyMeter"]
