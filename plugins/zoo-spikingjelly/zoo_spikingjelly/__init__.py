"""spikingjelly's own image classifiers as a family of has8-zoo: `sj_spikformerti`, `sj_msresnet18`, `sj_qkformer10384`.

The family is found by its entry point; nothing has to be imported.
"""
