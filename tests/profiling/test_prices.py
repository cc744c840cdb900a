"""A component is charged the prices that it declares, or the default of its kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

import zoo
from zoo.contracts import Decoder, Encoder, Neuron, Price, Work
from zoo.contracts.price import DECODER_PRICES, ENCODER_PRICES, INTEGRATION, NEURON_PRICES
from zoo.neurons.nodes import IFNeuron
from zoo.profiling import Part
from zoo.profiling.counting import Recorder, prices_of
from zoo.registry import Registry, default_registry

OWN = Price("a gate", read=Work(3, 5), written=Work(7, 11), reason="it was measured")
KINDS: dict[str, tuple[str, Part, type[nn.Module], tuple[Price, ...]]] = {
    "encoder": ("ste", Part.CODING, Encoder, ENCODER_PRICES),
    "decoder": ("bpd", Part.CODING, Decoder, DECODER_PRICES),
    "neuron": ("if", Part.NEURONS, Neuron, NEURON_PRICES),
}
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
    base: Any = Inside if kind == "neuron" else default_registry().load(kind, KINDS[kind][0])
    registry = Registry(default_registry().components())
    registry.register(kind, "mine", type("Mine", (base,), {"prices": prices, "api_version": 1}))
    parts = {"encoder": "ste", "decoder": "bpd", "neuron": "if"} | {kind: "mine"}
    name = f"has8_vgg_b1_m1_d1_{'_'.join(parts.values())}"
    model = zoo.create_model(name, num_classes=2, registry=registry)
    recorder = Recorder(model)
    with recorder.watching():
        model(torch.rand(1, 3, 4, 4))
    found = recorder.counts(1)
    assert not found.uncounted
    return found.elementwise


@pytest.mark.parametrize("kind", KINDS)
def test_a_declared_price_is_charged_and_no_price_costs_nothing(kind: str) -> None:
    name, part, _, _ = KINDS[kind]
    read, written = VALUES[kind]
    charged = work_of(kind, (OWN,))[part]
    assert charged[OWN] == Work(3 * read + 7 * written, 5 * read + 11 * written)
    assert not set(default_registry().load(kind, name).prices) & set(charged)
    assert OWN not in work_of(kind, ()).get(part, {})


def test_nodes_of_spikingjelly_declare_nothing_and_are_known() -> None:
    assert prices_of(neuron.IFNode(), False) == (Part.NEURONS, (INTEGRATION,))
    for node in (neuron.LIFNode(), neuron.ParametricLIFNode(), neuron.EIFNode()):
        assert prices_of(node, False) == (Part.NEURONS, NEURON_PRICES)
