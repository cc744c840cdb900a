"""Published models of energy for has8-zoo, beside its own: Loihi's, Lemaire's, spikingjelly's, SpikeSim's and Yan's."""
