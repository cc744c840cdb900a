"""The neurons against spikingjelly's own nodes: spikes bit for bit, gradients, settings, statelessness."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, neuron, surrogate
from spikingjelly.activation_based.monitor import OutputMonitor
from torch import Tensor

from zoo.errors import CompositionError, OptionError
from zoo.models.factory import create_model
from zoo.neurons.nodes import IFNeuron, IntegrateAndFire, LIFNeuron, ParametricLIFNeuron
from zoo.neurons.spikingjelly_nodes import StatelessNode

OURS: dict[str, type[IntegrateAndFire]] = {"if": IFNeuron, "lif": LIFNeuron, "plif": ParametricLIFNeuron}
NAMES = tuple(OURS)


def make(name: str, **changes: Any) -> Any:
    """Our neuron, some of its settings changed."""
    node = OURS[name]()
    for key, value in changes.items():
        setattr(node, key, value)
    return node


def reference(name: str, **changes: Any) -> Any:
    """spikingjelly's node with the zoo's settings, but for `changes`."""
    options = {"surrogate_function": surrogate.ATan(2.0), "step_mode": "m"} | changes
    if name == "if":
        return neuron.IFNode(**options)
    return neuron.LIFNode(tau=2.0, **options) if name == "lif" else neuron.ParametricLIFNode(init_tau=2.0, **options)


def run(node: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Spikes, the input's gradient, and that of PLIF's w."""
    if isinstance(node, neuron.BaseNode):
        functional.reset_net(node)
    x = x.detach().clone().requires_grad_()
    w = getattr(node, "w", None)
    spikes = node(x)
    found = torch.autograd.grad(spikes, [x] if w is None else [x, w], grad)
    return spikes.detach(), found[0], None if w is None else found[1]


def assert_near(found: Tensor, want: Tensor, tolerance: float = 1e-5) -> None:
    assert found.shape == want.shape
    assert found.dtype == want.dtype
    assert (found - want).abs().max() <= tolerance * want.abs().max()


def assert_same_node(node: Any, theirs: Any, x: Tensor, may_cancel: bool = False) -> Tensor:
    """Spikes equal bit for bit, gradients to 1e-5 of their maximum; returns the spikes.

    With `may_cancel`, the weight's gradient is measured against its terms: of few random values the sum may be
    almost nothing, and keeps their rounding.
    """
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(11), dtype=x.dtype)
    (spikes, dx, dw), (want, want_dx, want_dw) = run(node, x, grad), run(theirs, x, grad)
    assert torch.equal(spikes, want)
    assert_near(dx, want_dx)
    if want_dw is not None:
        assert dw is not None
        terms = float(want_dx.abs().sum()) if may_cancel else 0.0
        assert (dw - want_dw).abs() <= 1e-5 * max(float(want_dw.abs()), terms)
    return spikes


def currents(shape: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).mul_(2)


# --- Against spikingjelly ---


@pytest.mark.parametrize("name", NAMES)
def test_fires_exactly_at_the_threshold(name: str) -> None:
    # From rest, the IF neuron reaches 1 with a current of 1, the two with τ = 2 with a current of 2.
    at = torch.tensor([1.0 if name == "if" else 2.0])
    under = torch.nextafter(at, torch.tensor(0.0))
    assert make(name)(at[None]).item() == 1
    assert make(name)(under[None]).item() == 0


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.lists(st.integers(1, 16), min_size=2, max_size=4),
    name=st.sampled_from(NAMES),
    threshold=st.sampled_from([0.25, 1.0, 1.7]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_equals_spikingjellys_node(
    seed: int, shape: list[int], name: str, threshold: float, dtype: torch.dtype
) -> None:
    x = currents(tuple(shape), seed, dtype)
    node, theirs = make(name, v_threshold=threshold).to(dtype), reference(name, v_threshold=threshold).to(dtype)
    spikes = assert_same_node(node, theirs, x, may_cancel=True)
    assert x.numel() < 200 or 0 < spikes.mean() < 1  # the comparison saw firing and silence


@pytest.mark.parametrize("w", [-2.0, 0.5, 3.0])
def test_plif_follows_its_weight(w: float) -> None:
    node, theirs = make("plif"), reference("plif")
    with torch.no_grad():
        node.w.fill_(w)
        theirs.w.fill_(w)
    assert_same_node(node, theirs, currents((8, 4, 50)))


# --- Other element types ---


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_keeps_its_membrane_in_float32(name: str) -> None:
    node = make(name)
    x, grad = currents((8, 3, 200)).bfloat16(), currents((8, 3, 200), seed=1).bfloat16()
    spikes, dx, _ = run(node, x, grad)
    wide, wide_dx, _ = run(node, x.float(), grad.float())
    assert spikes.dtype == dx.dtype == torch.bfloat16
    assert torch.equal(spikes.float(), wide)
    assert_near(dx.float(), wide_dx, 2**-8)  # one rounding to bfloat16


# --- No state ---


@pytest.mark.parametrize("setting", [{}, {"v_reset": None}, {"detach_reset": True}])
@pytest.mark.parametrize("name", NAMES)
def test_a_call_starts_from_rest(name: str, setting: dict[str, Any]) -> None:
    node, x = make(name, **setting), currents((8, 4, 10))
    want = node(x)
    node.step(x[0], torch.full((4, 10), 0.9))
    assert torch.equal(node(x), want)


# --- spikingjelly's settings are honoured ---

SETTINGS: list[dict[str, Any]] = [
    {"v_threshold": 0.4},
    {"v_reset": None},
    {"v_reset": -0.25},
    {"detach_reset": True},
    {"surrogate_function": surrogate.Sigmoid(4.0)},
    {"v_threshold": 0.4, "v_reset": None, "detach_reset": True},
]


@pytest.mark.parametrize(("name", "setting"), [*product(NAMES, SETTINGS)], ids=str)
def test_settings_are_those_of_spikingjelly(name: str, setting: dict[str, Any]) -> None:
    node, x = make(name, **setting), currents((8, 3, 20))
    changed = assert_same_node(node, reference(name, **setting), x)
    assert torch.equal(node(x), changed)  # no state on these paths either
    if {"v_threshold", "v_reset"} & setting.keys():
        assert not torch.equal(changed, make(name)(x))  # the setting matters


@pytest.mark.parametrize("setting", [{}, {"v_reset": None}, {"v_reset": -0.25}], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_steps_are_those_of_spikingjelly(name: str, setting: dict[str, Any]) -> None:
    node, theirs, x = make(name, **setting), reference(name, store_v_seq=True, **setting), currents((8, 3, 20))
    potential, potentials, spikes = None, [], []
    for current in x:
        fired, potential = node.step(current, potential)
        spikes.append(fired)
        potentials.append(potential)
    assert torch.equal(torch.stack(spikes), theirs(x))
    assert torch.equal(torch.stack(potentials), theirs.v_seq)
    assert torch.equal(torch.stack(spikes), node(x))


def test_a_narrower_surrogate_is_spikingjellys() -> None:
    assert_same_node(IFNeuron(alpha=3.5), reference("if", surrogate_function=surrogate.ATan(3.5)), currents((8, 3, 20)))


# --- spikingjelly's nodes as neurons of the zoo ---


class KLIF(StatelessNode, neuron.KLIFNode):
    def __init__(self) -> None:
        neuron.KLIFNode.__init__(self, step_mode="m", store_v_seq=True)


def test_a_node_of_spikingjelly_starts_from_rest_on_every_call() -> None:
    node, theirs, x = KLIF(), neuron.KLIFNode(step_mode="m", store_v_seq=True), currents((4, 3, 50))
    node.v = torch.full((3, 50), 5.0)
    assert torch.equal(node(x), theirs(x))
    assert torch.equal(node.v_seq, theirs.v_seq)
    assert float(node.v) == 0.0
    assert torch.equal(node(x), node(x))


def test_a_node_of_spikingjelly_steps_as_it_runs() -> None:
    node, x, potential, spikes = KLIF(), currents((4, 3, 50)), None, []
    for current in x:
        fired, potential = node.step(current, potential)
        spikes.append(fired)
    assert torch.equal(torch.stack(spikes), node(x))


# --- The definition ---


def test_if_by_hand() -> None:
    spikes = IFNeuron()(torch.tensor([0.6, 0.6, 0.5, 0.5, -1.0, 1.9, 0.2])[:, None])
    # h = 0.6, 1.2 fires, 0.5, 1.0 fires, −1, 0.9, 1.1 fires.
    assert spikes.flatten().tolist() == [0, 1, 0, 1, 0, 0, 1]


def test_surrogate_slope_of_a_single_step() -> None:
    x = torch.linspace(-2, 4, 25)[None].requires_grad_()
    (found,) = torch.autograd.grad(IFNeuron()(x).sum(), x)
    torch.testing.assert_close(found, 1 / (1 + (torch.pi * (x.detach() - 1)) ** 2))


def defined(name: str, x: Tensor, w: Tensor) -> Tensor:
    """Equation 22 and the two leaks, step by step, by nothing but torch's own operations."""
    gain = {"if": torch.ones_like(w), "lif": torch.full_like(w, 0.5), "plif": w.sigmoid()}[name]
    v, spikes = torch.zeros_like(x[0]), []
    for current in x:
        h = v + current if name == "if" else v + (current - v) * gain
        smooth = torch.atan(torch.pi * (h - 1)) / torch.pi  # its derivative is 1 / (1 + (πx)²), of every order
        spikes.append((h >= 1).to(x.dtype) + smooth - smooth.detach())
        v = h * (1 - spikes[-1])
    return torch.stack(spikes)


def ours(name: str, x: Tensor, w: Tensor) -> Tensor:
    return torch.func.functional_call(OURS[name](), {"w": w} if name == "plif" else {}, x)


def second_order(spikes: Callable[[str, Tensor, Tensor], Tensor], name: str, dtype: torch.dtype) -> list[Tensor]:
    """∂/∂(x, w, upstream) of |∂(upstream · spikes)/∂(x, w)|²."""
    x = currents((6, 2, 5)).to(dtype).requires_grad_()
    upstream = currents((6, 2, 5), seed=1).to(dtype).requires_grad_()
    w = torch.tensor(0.3, dtype=dtype, requires_grad=True)
    sources = [x, w] if name == "plif" else [x]
    first = torch.autograd.grad(spikes(name, x, w), sources, upstream, create_graph=True)
    total = sum((each.square().sum() for each in first), torch.zeros((), dtype=dtype))
    return list(torch.autograd.grad(total, [*sources, upstream]))


@pytest.mark.parametrize("name", NAMES)
def test_double_backward_is_that_of_the_definition(name: str) -> None:
    found = second_order(ours, name, torch.float32)
    want = second_order(defined, name, torch.float64)
    for each, expected in zip(found, want, strict=True):
        assert expected.abs().max() > 0
        assert_near(each.double(), expected, 1e-4)


# --- Soft reset, initial potential, waiting, the gradient of the rate ---

values = st.lists(st.floats(-3, 3, width=16), min_size=1, max_size=8)


@given(values)
def test_waiting_neuron_rounds_its_sum_to_a_number_of_spikes(values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float64)[:, None]
    spikes = IFNeuron(v_reset=None, v_init=0.5, waits=True)(x)
    expected = torch.floor(x.sum() + 0.5).clamp(0, len(values))
    assert float(spikes.sum()) == float(expected)
    assert torch.equal(spikes, spikes.sort(0, descending=True).values)  # spikes first, silence after them


@given(values, st.integers(1, 4))
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


@pytest.mark.parametrize("detached", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_soft_reset_learns_as_spikingjellys_node_does(name: str, detached: bool) -> None:
    settings: dict[str, Any] = {"v_reset": None, "detach_reset": detached}
    node, theirs = OURS[name](v_threshold=0.4, **settings), reference(name, v_threshold=0.4, **settings)
    assert 0 < assert_same_node(node, theirs, currents((8, 4, 50))).mean() < 1


def test_rate_gradient_of_a_current_that_is_no_number_is_zero() -> None:
    x = torch.tensor([[0.5, float("nan")], [0.5, 1.0]], requires_grad=True)
    spikes = IFNeuron(v_reset=None, gradient="rate")(x)
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    spikes.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1.0, 0.0], [1.0, 0.0]]


# --- A learned scale before and behind ---

SCALED: list[dict[str, Any]] = [
    {},
    {"v_reset": None, "detach_reset": True},
    {"v_reset": None, "v_init": 0.5, "waits": True, "gradient": "rate"},
]


@pytest.mark.parametrize("settings", SCALED, ids=str)
@pytest.mark.parametrize("expanded", [False, True])
def test_scaled_spikes_are_worth_their_scale_and_teach_it(settings: dict[str, Any], expanded: bool) -> None:
    node = IFNeuron(**settings)
    values = currents((1, 3, 200)).expand(6, -1, -1) if expanded else currents((6, 3, 200))
    upstream = currents((6, 3, 200), seed=1)
    found = []
    for scaled in (node.scaled, lambda x, scale: node(x / scale) * scale):
        x, scale = values.clone().requires_grad_(), torch.tensor(1.7, requires_grad=True)
        y = scaled(x.expand(6, -1, -1) if expanded else x, scale)
        found.append((y.detach(), *torch.autograd.grad(y, [x, scale], upstream)))
    (y, dx, dscale), (want, want_dx, want_dscale) = found
    assert torch.equal(y, want)
    assert 0 < y.count_nonzero() < y.numel()
    assert_near(dx, want_dx, 1e-6)
    assert abs(float(dscale - want_dscale)) <= 1e-6 * float((want_dx * values).abs().sum() + want_dscale.abs())


def test_currents_that_no_kernel_takes_are_scaled_alike() -> None:
    x, scale = currents((6, 3, 50)).double(), torch.tensor(1.7, dtype=torch.float64)
    spikes = IFNeuron().scaled(x, scale)
    assert 0 < spikes.count_nonzero() < spikes.numel()
    assert torch.equal(spikes, IFNeuron()(x / scale) * scale)


def test_hooks_of_a_scaled_neuron_see_spikes() -> None:
    node, seen = IFNeuron(v_reset=None), []
    x, scale = currents((4, 2, 30)), torch.tensor(0.5)
    expected = node.scaled(x, scale)
    handle = node.register_forward_hook(lambda module, args, output: seen.append(output))
    assert torch.equal(node.scaled(x, scale), expected)
    handle.remove()
    assert torch.equal(seen[0] * scale, expected)
    assert set(seen[0].unique().tolist()) == {0.0, 1.0}


def test_another_surrogate_of_a_waiting_neuron_is_its_own() -> None:
    x = currents((4, 3, 20)).requires_grad_()
    node = IFNeuron(v_reset=None, v_init=0.5, waits=True)
    slopes = []
    for function in (None, surrogate.Sigmoid(4.0)):
        node.surrogate_function = function
        slopes.append(torch.autograd.grad(node(x).sum(), x)[0])
    assert not torch.allclose(slopes[0], slopes[1])


# --- spikingjelly's own tools ---


def test_spikingjellys_monitor_sees_the_spikes_of_a_composed_model() -> None:
    model = create_model("has8_resnet_b2_m1_d1_ste_bpd", num_classes=2).eval()
    watched = OutputMonitor(model, IFNeuron)
    with torch.no_grad():
        model(torch.rand(1, 3, 32, 32))
    nodes = [name for name, module in model.named_modules() if isinstance(module, IFNeuron)]
    assert watched.monitored_layers == nodes
    assert [record.shape[0] for record in watched.records] == [8] * len(nodes)
    assert {value for record in watched.records for value in record.unique().tolist()} == {0.0, 1.0}
    watched.remove_hooks()
