"""Neurons by name: they compute what spikingjelly's nodes compute; I-LIF's integers and spikes give the same logits."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn
from zoo_spikingjelly.neurons import (
    ComplementaryLIFNeuron,
    GatedLIFNeuron,
    IntegerLIFNeuron,
    KLIFNeuron,
    SlidingPSNeuron,
)

import zoo
from zoo.errors import InputError

T = 8
ATAN = {"surrogate_function": surrogate.ATan(2.0), "step_mode": "m"}


def currents() -> Tensor:
    return torch.randn(T, 3, 4, 5, 5, generator=torch.Generator().manual_seed(0)) * 2


def glif_node(ours: GatedLIFNeuron) -> nn.Module:
    node = neuron.GatedLIFNode(T, **ATAN)
    for name, value in ours.named_parameters():
        node.get_parameter(name).data.copy_(value.data)
    return node


def klif_node(ours: KLIFNeuron) -> nn.Module:
    node = neuron.KLIFNode(**ATAN)
    node.k.data.copy_(ours.k.data)
    return node


def steep() -> KLIFNeuron:
    ours = KLIFNeuron()
    ours.k.data.fill_(1.3)
    return ours


PAIRS: tuple[tuple[Any, Any], ...] = (
    (ComplementaryLIFNeuron(), lambda _: neuron.ComplementaryLIFNode(**ATAN)),
    (steep(), klif_node),
    (GatedLIFNeuron(), glif_node),
    (SlidingPSNeuron(), lambda _: neuron.SlidingPSN(4, **ATAN)),
    (
        IntegerLIFNeuron(4, integers=True, v_threshold=4.0),
        lambda _: neuron.ILIFNode(surrogate_function=surrogate.MultiLevelSpikeCount(4), step_mode="m"),
    ),
)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda each: type(each).__name__)
def test_a_neuron_is_spikingjellys(ours: Any, theirs: Any) -> None:
    x, y = currents().requires_grad_(), currents().requires_grad_()
    found, expected = ours(x), theirs(ours)(y)
    if isinstance(ours, IntegerLIFNeuron):
        expected = expected / 4
    assert len(expected.unique()) > 1
    assert (found == expected).float().mean() > 0.999
    found.square().sum().backward()
    expected.square().sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert torch.isclose(x.grad, y.grad, rtol=1e-4, atol=1e-6).float().mean() > 0.99


@pytest.mark.parametrize("ours", [pair[0] for pair in PAIRS if pair[0].streams], ids=lambda each: type(each).__name__)
def test_a_neuron_that_streams_fires_step_by_step_as_at_once(ours: Any) -> None:
    potential, spikes = None, []
    for now in currents():
        fired, potential = ours.step(now, potential)
        spikes.append(fired)
    assert torch.equal(torch.stack(spikes), ours(currents()))


def test_integers_and_spikes_of_ilif_give_the_same_logits_and_gradients() -> None:
    torch.manual_seed(0)
    name, levels = "sew_resnetsmall_b2_m2_d1_direct_ilif", {"levels": 4}
    integers = zoo.create_model(name, num_classes=5, timesteps=2, neuron_options={**levels, "integers": True}).train()
    with torch.no_grad():
        for module in integers.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 1, 3)
                nn.init.uniform_(module.bias, 0, 1)
        for _ in range(3):
            integers(torch.rand(8, 3, 16, 16))
    spikes = zoo.create_model(name, num_classes=5, timesteps=8, neuron_options=levels).eval()
    spikes.load_state_dict(copy.deepcopy(integers.eval().state_dict()))
    x = torch.rand(4, 3, 16, 16)
    whole, unary = integers(x), spikes(x)
    assert whole.std(0).max() > 0.01
    torch.testing.assert_close(unary, whole, rtol=1e-4, atol=1e-5)
    whole.square().sum().backward()
    unary.square().sum().backward()
    for (key, ours), theirs in zip(integers.named_parameters(), spikes.parameters(), strict=True):
        assert ours.grad is not None, key
        assert theirs.grad is not None, key
        torch.testing.assert_close(theirs.grad, ours.grad, rtol=1e-2, atol=1e-3 * float(ours.grad.abs().max()))


def test_spikes_of_ilif_are_unary() -> None:
    fired = IntegerLIFNeuron(4)(currents()).unflatten(0, (2, 4))
    assert set(fired.unique().tolist()) == {0, 1}
    assert (fired.diff(dim=1) <= 0).all()
    assert torch.equal(fired.mean(1), IntegerLIFNeuron(4, integers=True)(currents().unflatten(0, (2, 4)).mean(1)))
    with pytest.raises(InputError, match="multiple"):
        IntegerLIFNeuron(3)(currents())
