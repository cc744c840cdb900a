"""A component is charged the prices that it declares, or the default of its kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import Tensor

import zoo
from zoo.contracts import Neuron, Price, Work
from zoo.contracts.price import INTEGRATION, NEURON_PRICES
from zoo.neurons.nodes import IFNeuron
from zoo.profiling import Part
from zoo.profiling.counting import Recorder, prices_of
from zoo.registry import Registry, default_registry

OWN = Price("a gate", read=Work(3, 5), written=Work(7, 11), reason="it was measured")
PARTS = {"encoder": "ste", "decoder": "bpd", "neuron": "if"}
VALUES = {"encoder": (63, 8 * 63), "decoder": (8 * 17, 17), "neuron": (8 * 1598, 8 * 1598)}
"""Values that the components of a VGG b1, m1, d1 read and write: 48, 12, 3 features; neurons after five layers."""


class Inside(Neuron):
    """The zoo's own neuron inside another, which alone is charged."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = IFNeuron()

    def forward(self, x: Tensor) -> Tensor:
        spikes: Tensor = self.inner(x)
        return spikes


def work_of(kind: str, prices: tuple[Price, ...]) -> dict[Part, dict[Price, Work]]:
    """The work of a small network whose component of a kind declares these prices."""
    base: Any = Inside if kind == "neuron" else default_registry().load(kind, PARTS[kind])
    registry = Registry(default_registry().components())
    registry.register(kind, "mine", type("Mine", (base,), {"prices": prices, "api_version": 1}))
    name = f"has8_vgg_b1_m1_d1_{'_'.join((PARTS | {kind: 'mine'}).values())}"
    model = zoo.create_model(name, num_classes=2, registry=registry)
    recorder = Recorder(model)
    with recorder.watching():
        model(torch.rand(1, 3, 4, 4))
    found = recorder.counts(1)
    assert not found.uncounted
    return found.elementwise


@pytest.mark.parametrize("kind", PARTS)
def test_a_declared_price_is_charged_and_no_price_costs_nothing(kind: str) -> None:
    (read, written), part = VALUES[kind], Part.NEURONS if kind == "neuron" else Part.CODING
    charged = work_of(kind, (OWN,))[part]
    assert charged[OWN] == Work(3 * read + 7 * written, 5 * read + 11 * written)
    assert not set(default_registry().load(kind, PARTS[kind]).prices) & set(charged)
    assert OWN not in work_of(kind, ()).get(part, {})


def test_nodes_of_spikingjelly_declare_nothing_and_are_known() -> None:
    assert prices_of(neuron.IFNode(), False) == (Part.NEURONS, (INTEGRATION,))
    for node in (neuron.LIFNode(), neuron.ParametricLIFNode(), neuron.EIFNode()):
        assert prices_of(node, False) == (Part.NEURONS, NEURON_PRICES)
