"""Published energy models for has8-zoo, beside its own: Loihi's, Lemaire's, spikingjelly's, SpikeSim's and Yan's."""
