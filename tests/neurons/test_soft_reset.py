"""Soft reset, initial potential, waiting and the gradient of the rate, against the equations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import neuron, surrogate

from zoo.errors import CompositionError, OptionError
from zoo.neurons.nodes import IFNeuron

currents = st.lists(st.floats(-3, 3, width=16), min_size=1, max_size=8)


@given(currents)
def test_waiting_neuron_rounds_its_sum_to_a_number_of_spikes(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64)[:, None]
    spikes = IFNeuron(v_reset=None, v_init=0.5, waits=True)(x)
    expected = torch.floor(x.sum() + 0.5).clamp(0, len(values))
    assert float(spikes.sum()) == float(expected)
    assert torch.equal(spikes, spikes.sort(0, descending=True).values)  # spikes first, silence after them


@given(currents, st.integers(1, 4))
def test_order_of_currents_does_not_matter_to_a_waiting_neuron(values: list[float], shift: int) -> None:
    x = torch.tensor(values, dtype=torch.float64)[:, None]
    node = IFNeuron(v_reset=None, v_init=0.5, waits=True)
    assert torch.equal(node(x), node(x.roll(shift, 0)))


def test_soft_reset_equals_spikingjellys_node() -> None:
    x = torch.randn(6, 3, 5)
    theirs = neuron.IFNode(v_reset=None, step_mode="m", surrogate_function=surrogate.ATan())
    theirs.v = torch.full((3, 5), 0.25)
    assert torch.equal(IFNeuron(v_reset=None, v_init=0.25)(x), theirs(x))


@pytest.mark.parametrize("waits", [False, True])
def test_rate_gradient_is_that_of_the_clipped_mean(waits: bool) -> None:
    x = torch.tensor([[-1.0, 0.3, 4.0], [0.5, 0.9, 1.0]], requires_grad=True)
    weight = torch.tensor([[1.0, 2.0, 3.0], [5.0, 7.0, 9.0]])
    spikes = IFNeuron(v_threshold=2.0, v_reset=None, v_init=0.5, waits=waits, gradient="rate")(x)
    (spikes * weight).sum().backward()
    inside = torch.tensor([0.0, 1.0, 0.0])  # means -0.25, 0.6, 2.5 of θ = 2
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(x.grad, (inside * weight.sum(0) / 2 / 2).expand(2, 3))


def test_surrogate_gradient_with_initial_potential_flows_through_time() -> None:
    x = torch.randn(4, 10, requires_grad=True)
    IFNeuron(v_reset=None, v_init=0.5)(x)[-1].sum().backward()
    assert x.grad is not None
    assert bool((x.grad[0] != 0).any())


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"v_init": 0.5}, OptionError),
        ({"waits": True}, OptionError),
        ({"gradient": "rate"}, OptionError),
        ({"gradient": "slope", "v_reset": None}, OptionError),
        ({"v_init": 1.0, "v_reset": None}, CompositionError),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        IFNeuron(**options)  # type: ignore[arg-type]
