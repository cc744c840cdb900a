"""spikingjelly's own tools work on composed models."""

from __future__ import annotations

import torch
from spikingjelly.activation_based import neuron
from spikingjelly.activation_based.monitor import OutputMonitor

import zoo


def test_spikingjellys_monitor_sees_the_spikes_of_a_composed_model() -> None:
    model = zoo.create_model("has8_resnet_b2_m1_d1_ste_bpd", num_classes=2).eval()
    watched = OutputMonitor(model, neuron.IFNode)
    with torch.no_grad():
        model(torch.rand(1, 3, 32, 32))
    nodes = [name for name, module in model.named_modules() if isinstance(module, neuron.IFNode)]
    assert watched.monitored_layers == nodes
    assert [record.shape[0] for record in watched.records] == [8] * len(nodes)
    assert {value for record in watched.records for value in record.unique().tolist()} == {0.0, 1.0}
    watched.remove_hooks()
