"""Every kernel against its definition: planes, spikes and sums bit for bit, gradients within 1e-6 of the largest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual

from zoo.backbones.layers import SpikingAvgPool2d
from zoo.cpu.functions import only_definitions
from zoo.cpu.library import library
from zoo.encoders.bitplanes import unit_range
from zoo.neurons.nodes import GRADIENTS, IFNeuron, IntegrateAndFire, LIFNeuron, ParametricLIFNeuron
from zoo.neurons.radix import radix_spikes
from zoo.registry.components import default_registry

pytestmark = pytest.mark.skipif(library() is None, reason="no kernels were built, or ZOO_KERNELS=0")

ENCODERS = ("sigmoid", "tanh", "fourier", "sigmoidraw", "tanhraw", "fourierraw", "ste")
NEURONS: dict[str, Callable[[], IntegrateAndFire]] = {
    "if": IFNeuron,
    "lif": LIFNeuron,
    "lif of another tau": lambda: LIFNeuron(3.3),
    "plif": ParametricLIFNeuron,
}
DECODERS = ("rate", "bpd")
ROUNDING = {torch.float32: 1e-6, torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}
TYPES = st.sampled_from(list(ROUNDING))
SEEDS = st.integers(0, 2**31)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picked(values: list[float]) -> Callable[[tuple[int, ...], int], Tensor]:
    """Tensors whose values are each one of these."""
    table = torch.tensor(values)
    return lambda shape, seed: table[torch.randint(len(table), shape, generator=generator(seed))]


def normal(scale: float) -> Callable[[tuple[int, ...], int], Tensor]:
    return lambda shape, seed: torch.randn(shape, generator=generator(seed)) * scale


def ties(shape: tuple[int, ...], seed: int) -> Tensor:
    """Levels, the borders between them, at which a plane changes, and the neighbours of each in float32."""
    centres = torch.cat([torch.arange(256) / 255, (torch.arange(255) + 0.5) / 255])
    near = [torch.nextafter(centres, torch.tensor(to)) for to in (2.0, -1.0)]
    values = torch.cat([centres, *near]).clamp(0, 1)
    return values[torch.randint(len(values), shape, generator=generator(seed))]


def one_value(shape: tuple[int, ...], seed: int) -> Tensor:
    """Each sample one value; some are bounds themselves."""
    column = picked([0.0, 1.0, 0.4, 4.0, -3.0, 1e30, -1e30, 1e-45])((shape[0],), seed)
    return column.reshape(-1, *(1,) * (len(shape) - 1)).expand(shape).contiguous()


ONE = torch.tensor(1.0)
UNDER, OVER = (float(torch.nextafter(ONE, torch.tensor(to))) for to in (0.0, 2.0))
INF = float("inf")
FINITE: dict[str, Callable[[tuple[int, ...], int], Tensor]] = {
    "inside": lambda shape, seed: torch.rand(shape, generator=generator(seed)),
    "ordinary": normal(2),
    "wide": normal(30),
    "ties": ties,
    "denormal": picked([0.0, -0.0, 1e-45, -1e-45, 1e-40, 1.2e-38, -1.2e-38, 1e-30]),
    "extremes": picked([1e4, -1e4, 0.5, 0.0, 1.0, -3.0, 255.0, 2e3]),
    "the far end": picked([3e37, -3e37, 1e15, -1e15, 1.0, 0.5]),
    "clamped": lambda shape, seed: (torch.randn(shape, generator=generator(seed)) * 5).clamp(-3, 4),
    "one value": one_value,
    "at the threshold": picked([1.0, UNDER, OVER, 2.0, 2 * UNDER, 2 * OVER, 0.5, 0.25, 0.75, 0.0, -1.0]),
}
INFINITE = {
    "infinities": picked([INF, -INF, 0.0, 1.0, 3.0, -2.0]),
    "one infinity": picked([INF, *[0.1 * k for k in range(30)]]),
    "least infinity": picked([-INF, *[0.1 * k for k in range(30)]]),
}
SUMMED = {
    "spikes": picked([0.0, 1.0]),
    "counts": picked([0.0, 1.0, 2.0, 3.0, 4.0]),
    "averages": picked([k / 9 for k in range(5)]),
    "any": normal(3),
    "infinities": INFINITE["infinities"],
}
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda x: x,
    "channels last": lambda x: x.movedim(-3, -1).contiguous().movedim(-1, -3),
    "transposed": lambda x: x.transpose(-1, -2),
    "leading dimension inside": lambda x: x.movedim(0, -1).contiguous().movedim(-1, 0),
    "leading dimensions swapped": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "every second": lambda x: x[..., ::2, 1::2],
    "a window": lambda x: x[1:, 1:, ..., 1:4],
    "expanded": lambda x: x[:, :1].expand(-1, 4, *x.shape[2:]),
    "one for all": lambda x: x[:1].expand(x.shape),
    "backwards": lambda x: x.flip(-1)[..., ::3],
    "one sample": lambda x: x[:1],
    "rows": lambda x: x.flatten(1),
    "a row": lambda x: x.reshape(1, -1)[:, ::5],
}


def bits(x: Tensor) -> Tensor:
    return torch.nan_to_num(x.float(), nan=-7.0)


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert torch.equal(bits(found), bits(expected))


def assert_close(found: Tensor, expected: Tensor, dtype: torch.dtype, terms: Tensor | float = 0.0) -> None:
    """Within the rounding of the largest value; `terms` is the largest part of a sum that may cancel."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    largest = max(float(expected.float().abs().max()), float(terms))
    assert float((found.float() - expected.float()).abs().max()) <= ROUNDING[dtype] * largest


def encode(name: str, x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.detach().requires_grad_()
    planes = default_registry().load("encoder", name)()(leaf)
    return planes.detach(), torch.autograd.grad(planes, leaf, grad)[0]


def check_encoder(name: str, x: Tensor, grad: Tensor) -> None:
    planes, dx = encode(name, x, grad)
    with only_definitions():
        expected, expected_dx = encode(name, x, grad)
        rows = x.detach().float().flatten(1)
        width = rows.amax(1).clamp(min=1) - rows.amin(1).clamp(max=0)
        # What arrives at a sample's x̂ cancels if all its values are one.
        unit = unit_range(x.detach()).clamp(0, 1)
        terms = (encode(name, unit, grad.float())[1].flatten(1).abs().amax(1) / width).max()
    assert_same(planes, expected)
    # The definition sums what goes to a bound in float32, and rounds by the root of how many values there are.
    assert_close(dx, expected_dx, x.dtype, terms * max(1.0, 0.1 * width.numel() ** -0.5 * x.numel() ** 0.5))


@settings(max_examples=50, deadline=None)
@given(
    seed=SEEDS,
    name=st.sampled_from(ENCODERS),
    values=st.sampled_from(sorted(FINITE)),
    layout=st.sampled_from(sorted(LAYOUTS)),
    shape=st.sampled_from([(3, 2, 6, 5), (2, 3, 16, 17), (4, 2, 4, 9), (2, 3, 20, 40)]),
    dtype=TYPES,
)
def test_planes(seed: int, name: str, values: str, layout: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = LAYOUTS[layout](FINITE[values](shape, seed).clamp(-6e4, 6e4).to(dtype))
    grad = torch.randn((8, *x.shape), generator=generator(seed + 1)).to(dtype)
    check_encoder(name, x, grad)
    check_encoder(name, x, grad[:1].expand(grad.shape))
    check_encoder(name, x, grad.transpose(-1, -2).contiguous().transpose(-1, -2))


@pytest.mark.parametrize("shape", [(1, 1), (2, 511), (2, 512), (2, 513), (1, 1025), (2, 3, 1, 1)])
@pytest.mark.parametrize("name", ["fourier", "tanhraw", "ste"])
def test_planes_of_every_size(name: str, shape: tuple[int, ...]) -> None:
    for values in ("ties", "wide", "clamped"):
        x = FINITE[values](shape, 3)
        check_encoder(name, x, torch.randn((8, *shape), generator=generator(4)))


@pytest.mark.parametrize("values", sorted(INFINITE))
@pytest.mark.parametrize("dtype", list(ROUNDING))
def test_planes_of_infinities(values: str, dtype: torch.dtype) -> None:
    x = INFINITE[values]((6, 40), 0).to(dtype)
    encoder = default_registry().load("encoder", "ste")()
    with only_definitions():
        expected = encoder(x)
    assert_same(encoder(x), expected)
    x = torch.tensor([[3e38, -3e38, 0.0], [3e38, 1.0, 0.5], [0.1, 0.2, float("nan")]])
    with only_definitions():
        expected = encoder(x)
    assert_same(encoder(x), expected)


class Fired(NamedTuple):
    """Spikes, and the gradients of currents, PLIF's w and the scale; 0 if there is none."""

    spikes: Tensor
    dx: Tensor
    dw: Tensor
    dscale: Tensor


Settings = Mapping[str, Any]
PAPERS: Settings = {}
SOFT: Settings = {"v_reset": None, "detach_reset": True}
RATE: Settings = {"v_reset": 0.0, "gradient": "rate"}
WAITING: Settings = {"v_reset": None, "v_init": 0.5, "waits": True, "gradient": "rate"}


def make(name: str, firing: Settings) -> IntegrateAndFire:
    """A neuron with settings that its constructor may refuse together, and kernels compute."""
    node = NEURONS[name]()
    for setting, value in firing.items():
        setattr(node, setting, value)
    return node


def fire(node: IntegrateAndFire, x: Tensor, grad: Tensor, scale: float | None) -> Fired:
    leaf, sources = x.detach().requires_grad_(), list(node.parameters())
    learned = [] if scale is None else [torch.tensor(scale, requires_grad=True)]
    spikes = node(leaf, *learned)
    dx, *rest = torch.autograd.grad(spikes, [leaf, *sources, *learned], grad, allow_unused=True)
    found = [torch.zeros(()) if gradient is None else gradient for gradient in rest]
    dw, dscale = (found.pop(0) if some else torch.zeros(()) for some in (sources, learned))
    return Fired(spikes.detach(), dx, dw, dscale)


def rate_gradient(node: IntegrateAndFire, currents: Tensor, grad: Tensor) -> Tensor:
    """Gradient of half precision by the definition in float32: in half precision each part of a sum is rounded."""
    leaf = currents.float().requires_grad_()
    with only_definitions():
        (dx,) = torch.autograd.grad(node(leaf), leaf, grad.float())
    return dx.to(currents.dtype)


def check_neuron(
    name: str, x: Tensor, grad: Tensor, w: float = 0.3, firing: Settings = PAPERS, scale: float | None = None
) -> None:
    node = make(name, firing)
    for parameter in node.parameters():
        nn.init.constant_(parameter, w)
    found = fire(node, x, grad, scale)
    with only_definitions():
        expected = fire(node, x, grad, scale)
    assert_same(found.spikes, expected.spikes)
    node.in_place = True
    with torch.no_grad():
        in_place = node(x.clone(), None if scale is None else torch.tensor(scale))
    assert_same(in_place, expected.spikes)
    # Before and behind, half precision rounds a scaled gradient twice more, denormals of float16 by 2⁻²⁴.
    roundings = 1 if scale is None or x.dtype == torch.float32 else 2
    dx, least = expected.dx, 2.0**-13 if roundings > 1 else 0.0
    if scale is not None and roundings > 1 and node.gradient == "rate":
        dx, roundings = rate_gradient(make(name, firing), x / scale, grad), 1
    assert_close(found.dx / roundings, dx / roundings, x.dtype, max(float(dx.abs().max()), least))
    tolerance = 1e-6 if x.dtype == torch.float32 else 2e-2
    step = x.double().abs() / (scale or 1.0) + node.v_threshold * (1 + node.v_init)
    sums = (expected.dx.double() * (scale or 1.0) * step).abs().sum()
    for gradient, wanted in ((found.dw, expected.dw), (found.dscale, expected.dscale)):
        spread = sums + wanted.abs()  # half precision may round all of dx to 0
        spread += grad.double().abs().sum() if scale is not None else 0
        assert abs(float(gradient - wanted)) <= tolerance * float(spread) + 1e-30


FIRINGS = st.fixed_dictionaries(
    {
        "v_threshold": st.sampled_from([0.25, 1.0, 1.7]),
        "alpha": st.sampled_from([1.0, 2.0, 3.5]),
        "v_init": st.sampled_from([0.0, 0.125, 0.5]),
        "v_reset": st.sampled_from([0.0, None]),
        "detach_reset": st.booleans(),
        "waits": st.booleans(),
        "gradient": st.sampled_from(GRADIENTS),
    }
)


@settings(max_examples=100, deadline=None)
@given(
    seed=SEEDS,
    name=st.sampled_from(sorted(NEURONS)),
    values=st.sampled_from(sorted(FINITE)),
    layout=st.sampled_from(sorted(LAYOUTS)),
    timesteps=st.integers(1, 16),
    dtype=TYPES,
    firing=FIRINGS,
    scale=st.sampled_from([None, None, 1.0, 0.37, 2.5]),
    w=st.floats(-3, 3, width=32),
)
@example(27824, "if", "extremes", "as it is", 6, torch.bfloat16, RATE, 0.37, 0.0)  # its sum cancels
def test_spikes(
    seed: int,
    name: str,
    values: str,
    layout: str,
    timesteps: int,
    dtype: torch.dtype,
    firing: Settings,
    scale: float | None,
    w: float,
) -> None:
    largest = 50 if scale is not None and dtype == torch.float16 else 6e4  # the definition sums x / scale² in float16
    x = LAYOUTS[layout](FINITE[values]((timesteps + 1, 3, 2, 6, 18), seed).clamp(-largest, largest).to(dtype))
    grad = torch.randn(x.shape, generator=generator(seed + 1)).to(dtype)
    check_neuron(name, x, grad, w, firing, scale)
    check_neuron(name, x, grad[:1].expand(grad.shape), w, firing, scale)


@pytest.mark.parametrize("size", [1, 511, 512, 513, 1025])
@pytest.mark.parametrize("firing", [PAPERS, SOFT, WAITING])
@pytest.mark.parametrize("name", sorted(NEURONS))
def test_spikes_of_every_size(name: str, firing: Settings, size: int) -> None:
    for timesteps in (1, 8, 32):
        x = FINITE["at the threshold"]((timesteps, size), 5)
        check_neuron(name, x, torch.randn(x.shape, generator=generator(6)), firing=firing, scale=0.5)


@pytest.mark.parametrize("values", [*sorted(INFINITE), "the far end"])
@pytest.mark.parametrize("firing", [PAPERS, SOFT, WAITING])
@pytest.mark.parametrize("name", sorted(NEURONS))
def test_spikes_of_infinities(name: str, firing: Settings, values: str) -> None:
    x, node = (INFINITE | FINITE)[values]((8, 60), 0), make(name, firing)
    for scale in (None, torch.tensor(0.5)):
        with only_definitions():
            expected = node(x, scale)
        assert_same(node(x, scale), expected)


@settings(max_examples=50, deadline=None)
@given(
    seed=SEEDS,
    name=st.sampled_from(DECODERS),
    values=st.sampled_from(sorted(SUMMED)),
    layout=st.sampled_from(sorted(LAYOUTS)),
    timesteps=st.integers(1, 16),
    dtype=TYPES,
)
def test_sums(seed: int, name: str, values: str, layout: str, timesteps: int, dtype: torch.dtype) -> None:
    x = LAYOUTS[layout](SUMMED[values]((8 if name == "bpd" else timesteps, 3, 2, 6, 18), seed).to(dtype))
    assume(x.numel() > 0 and (name == "rate" or len(x) == 8))
    decoder = default_registry().load("decoder", name)()
    upstream = torch.rand(x.shape[1:], generator=generator(seed)).add(0.5).to(dtype)
    results = []
    for context in (only_definitions, torch.enable_grad):
        with context():
            leaf = x.detach().requires_grad_()
            out = decoder(leaf)
            results.append((out.detach(), torch.autograd.grad(out, leaf, upstream)[0]))
    (expected, expected_dx), (found, dx) = results
    if values in ("averages", "any"):  # torch adds in an order that follows the layout
        assert_close(found, expected, dtype, x.float().abs().max())
    else:
        assert_same(found, expected)
    assert_close(dx, expected_dx, dtype)


# --- What no kernel computes: the definition does ---

OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    **{name: default_registry().load("encoder", name)() for name in ("fourier", "tanhraw", "ste")},
    **{name: default_registry().load("decoder", name)() for name in DECODERS},
    "if": IFNeuron(),
    "soft lif": LIFNeuron(**SOFT),
    "waiting": IFNeuron(**WAITING),
    "scaled": lambda x: IFNeuron(**SOFT).scaled(x, torch.tensor(0.7)),
    "pooling": SpikingAvgPool2d(3, 2, 1),
}
HAVE_TANGENTS = ("rate", "bpd", "waiting", "pooling")


def sample(seed: int = 0) -> Tensor:
    return torch.rand((8, 2, 3, 9, 10), generator=generator(seed)) * 1.5


def both(compute: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """A result with kernels, and the definition's."""
    found = compute()
    with only_definitions():
        return found, compute()


@pytest.mark.parametrize("place", ["input", "gradient"])
@pytest.mark.parametrize("value", [float("nan"), INF, -INF])
@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_not_finite_goes_where_the_definition_lets_it(name: str, value: float, place: str) -> None:
    x = sample()
    upstream = torch.randn(OPERATIONS[name](x).shape, generator=generator(1))
    (x if place == "input" else upstream).view(-1)[::217] = value

    def compute() -> Tensor:
        leaf = x.detach().requires_grad_()
        y = OPERATIONS[name](leaf)
        return torch.cat([y.flatten(), torch.autograd.grad(y, leaf, upstream)[0].flatten()]).detach()

    found, expected = both(compute)
    assert torch.equal(found.isnan(), expected.isnan())
    assert torch.equal(found.isinf(), expected.isinf())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("place", ["input", "gradient"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_negative_bit_negates(name: str, place: str) -> None:
    leaf, upstream = sample().requires_grad_(), torch.randn(OPERATIONS[name](sample()).shape, generator=generator(1))

    def compute(x: Tensor, grad: Tensor) -> Tensor:
        y = OPERATIONS[name](x)
        return torch.cat([y.flatten(), torch.autograd.grad(y, leaf, grad)[0].flatten()]).detach()

    expected = compute(leaf, upstream)
    negated = {"input": (torch._neg_view(-leaf), upstream), "gradient": (leaf, torch._neg_view(-upstream))}
    found = compute(*negated[place])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", HAVE_TANGENTS)
def test_forward_mode_derivatives(name: str) -> None:
    def compute() -> Tensor:
        with dual_level():
            y = unpack_dual(OPERATIONS[name](make_dual(sample(), sample(1))))
            assert y.tangent is not None
            return y.tangent.clone()

    found, expected = both(compute)
    assert expected.any()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", OPERATIONS)
def test_batched_gradients(name: str) -> None:
    def compute() -> Tensor:
        leaf = sample().requires_grad_()
        y = OPERATIONS[name](leaf)
        upstream = torch.randn((3, *y.shape), generator=generator(1))
        return torch.autograd.grad(y, leaf, upstream, is_grads_batched=True)[0]

    found, expected = both(compute)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", list(ROUNDING))
@pytest.mark.parametrize("values", sorted(INFINITE | FINITE))
@pytest.mark.parametrize("repeated", [False, True])
def test_digits(values: str, dtype: torch.dtype, repeated: bool) -> None:
    x = (INFINITE | FINITE)[values]((4, 3, 700), 0).to(dtype)
    x = x[:1].expand_as(x) if repeated else x
    with only_definitions():
        expected = radix_spikes(x, (1, 2, 4, 8), 12)
    assert torch.equal(radix_spikes(x, (1, 2, 4, 8), 12), expected)
