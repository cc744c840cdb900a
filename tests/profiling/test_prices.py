"""What a component is charged with is what it declares, whoever brings it; the default is the contract's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import nn

from zoo.contracts import Decoder, Encoder, Neuron, Price, Work
from zoo.contracts.price import DECODER_PRICES, ENCODER_PRICES, INTEGRATION, NEURON_PRICES
from zoo.decoders.averages import BitPlaneDecoder
from zoo.encoders.bitplanes import StraightThroughEncoder
from zoo.neurons.nodes import IFNeuron
from zoo.profiling import Part, charged, profile
from zoo.profiling.activity import rules_of
from zoo.registry import Registry, default_registry

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
OWN = Price("a gate", read=Work(3, 5), written=Work(7, 11), reason="it was measured")
KINDS: dict[str, tuple[str, Part, tuple[Price, ...]]] = {
    "encoder": ("ste", Part.CODING, ENCODER_PRICES),
    "decoder": ("bpd", Part.CODING, DECODER_PRICES),
    "neuron": ("if", Part.NEURONS, NEURON_PRICES),
}
STANDARD = {"encoder": "ste", "decoder": "bpd", "neuron": "if"}


class Inside(Neuron):
    """The zoo's own neuron inside another, which alone is charged."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = IFNeuron()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spikes: torch.Tensor = self.inner(x)
        return spikes


def counted(registry: Registry, kind: str, name: str) -> Any:
    parts = STANDARD | {kind: name}
    model = f"has8_resnet_b1_m1_d1_{parts['encoder']}_{parts['decoder']}_{parts['neuron']}"
    found = profile(model, images=IMAGES, registry=registry).activity
    assert found is not None
    return found


def declaring(kind: str, prices: tuple[Price, ...]) -> Registry:
    """The installed components, and as `mine` the standard one of a kind with other prices."""
    base = default_registry().load(kind, KINDS[kind][0])
    cls = Inside if kind == "neuron" else base
    registry = Registry(default_registry().components())
    registry.register(kind, "mine", type("Mine", (cls,), {"prices": prices, "api_version": 1}))
    return registry


@pytest.mark.parametrize("kind", KINDS)
def test_a_declared_price_is_charged(kind: str) -> None:
    name, part, _ = KINDS[kind]
    registry = declaring(kind, (OWN,))
    plain, mine = counted(registry, kind, name), counted(registry, kind, "mine")
    (rule,) = charged((OWN,), part)
    standard = charged(default_registry().load(kind, name).prices, part)
    (read, written) = _values(plain, kind, standard[-1].operation)
    assert mine.elementwise[rule] == Work(3 * read + 7 * written, 5 * read + 11 * written)
    assert not set(standard) & set(mine.elementwise)
    others = {key: work for key, work in plain.elementwise.items() if key not in standard}
    assert others.items() <= mine.elementwise.items()


def _values(plain: Any, kind: str, operation: str) -> tuple[int, int]:
    """Values that the components of a kind read and write, from what the standard ones were charged with."""
    (work,) = (work for rule, work in plain.elementwise.items() if rule.operation == operation)
    return {
        "encoder": (work.acs, 8 * work.acs),
        "decoder": (work.acs, work.macs),
        "neuron": (work.acs // 2, work.acs // 2),
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_no_price_costs_nothing(kind: str) -> None:
    found = counted(declaring(kind, ()), kind, "mine")
    standard = charged(default_registry().load(kind, KINDS[kind][0]).prices, KINDS[kind][1])
    assert not set(standard) & set(found.elementwise)
    assert not found.uncounted


@pytest.mark.parametrize(("contract", "kind"), [(Encoder, "encoder"), (Decoder, "decoder"), (Neuron, "neuron")])
def test_the_contract_states_the_default(contract: type[nn.Module], kind: str) -> None:
    assert contract.prices == KINDS[kind][2]  # type: ignore[attr-defined]


def test_nodes_of_spikingjelly_declare_nothing_and_are_known() -> None:
    assert rules_of(neuron.IFNode(), False) == charged((INTEGRATION,), Part.NEURONS)
    for node in (neuron.LIFNode(), neuron.ParametricLIFNode(), neuron.EIFNode()):
        assert rules_of(node, False) == charged(NEURON_PRICES, Part.NEURONS)


def test_what_a_component_is_called_or_derives_from_changes_nothing() -> None:
    class Renamed(StraightThroughEncoder):  # type: ignore[misc] # final
        code = "other"
        prices = ENCODER_PRICES

    class Derived(BitPlaneDecoder):  # type: ignore[misc]
        prices = DECODER_PRICES

    assert rules_of(Renamed(), False) == charged(ENCODER_PRICES, Part.CODING)
    assert rules_of(Derived(), False) == charged(DECODER_PRICES, Part.CODING)
