"""Published models of energy for has8-zoo, beside its own: Loihi's, spikingjelly's and SpikeSim's."""
