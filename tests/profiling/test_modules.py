"""Any torch module counted by one line, against loops over every pair of an input and a weight."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from zoo.errors import CountingError, InputError, OptionError
from zoo.profiling import profile

T = 4


def over_time(x: Tensor) -> Tensor:
    return x.unsqueeze(0).repeat(T, *(1,) * x.dim())


def spikingjelly_network() -> nn.Module:
    """The tutorial's convolutional network for Fashion-MNIST, small, multi-step."""
    network = nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1, bias=False),
        layer.BatchNorm2d(4),
        neuron.IFNode(),
        layer.MaxPool2d(2, 2),
        layer.Conv2d(4, 4, 3, padding=1, groups=2, bias=False),
        neuron.LIFNode(),
        layer.Flatten(),
        layer.Linear(4 * 4 * 4, 10),
        neuron.IFNode(),
    )
    functional.set_step_mode(network, "m")
    return network


class SnnTorchNetwork(nn.Module):
    """The tutorial's fully connected network, which loops over T and returns spikes and potentials."""

    def __init__(self) -> None:
        super().__init__()
        snntorch = pytest.importorskip("snntorch")
        self.fc1, self.lif1 = nn.Linear(64, 20), snntorch.Leaky(beta=0.95)
        self.fc2, self.lif2 = nn.Linear(20, 10), snntorch.Leaky(beta=0.95)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes, potentials = [], []
        for _ in range(T):
            spk1, mem1 = self.lif1(self.fc1(x.flatten(1)), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
            potentials.append(mem2)
        return torch.stack(spikes), torch.stack(potentials)


class NorseNetwork(nn.Module):
    """The tutorial's convolutional network in norse's sequential state, called for every timestep."""

    def __init__(self) -> None:
        super().__init__()
        norse = pytest.importorskip("norse.torch")
        self.net = norse.SequentialState(
            nn.Conv2d(1, 4, 3), norse.LIFCell(), nn.Flatten(), nn.Linear(4 * 6 * 6, 10), norse.LICell()
        )

    def forward(self, x: Tensor) -> Tensor:
        state, out = None, x
        for _ in range(T):
            out, state = self.net(x * 20, state)
        return out


NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "spikingjelly": (spikingjelly_network, {"reset": functional.reset_net, "inputs": over_time}),
    "snntorch": (SnnTorchNetwork, {}),
    "norse": (NorseNetwork, {}),
}


def pairs_by_loops(x: np.ndarray, module: nn.Module) -> int:
    """Sum whole numbers, each times the weights that it meets, one by one."""
    if isinstance(module, nn.Linear):
        return sum(int(value) for value in x.ravel() if value for _ in range(module.out_features))
    assert isinstance(module, nn.Conv2d)
    outputs, total = module.out_channels // module.groups, 0
    rows, columns = size_of_map(x, module)
    pad = int(module.padding[0])
    for *place, y, z in np.argwhere(x):
        for dy in range(3):
            for dz in range(3):
                met = 0 <= y + pad - dy < rows and 0 <= z + pad - dz < columns
                total += int(x[(*place, y, z)]) * outputs * met
    return total


def size_of_map(x: np.ndarray, conv: nn.Conv2d) -> tuple[int, int]:
    return x.shape[-2] + 2 * int(conv.padding[0]) - 2, x.shape[-1] + 2 * int(conv.padding[1]) - 2  # kernels of 3 × 3


def products_of(x: np.ndarray, module: nn.Module) -> int:
    """Multiply-accumulates, zeros and padding too."""
    weights = module.weight.numel()
    if isinstance(module, nn.Linear):
        return x.size // module.in_features * weights
    assert isinstance(module, nn.Conv2d)
    return x.size // (x.shape[-3] * x.shape[-2] * x.shape[-1]) * prod(size_of_map(x, module)) * weights


def caught_inputs(network: nn.Module, run: Callable[[], Any]) -> dict[str, list[np.ndarray]]:
    caught: dict[str, list[np.ndarray]] = defaultdict(list)

    def hook_of(name: str) -> Callable[..., None]:
        return lambda module, args: caught[name].append(args[0].numpy().copy())

    layers = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    hooks = [module.register_forward_pre_hook(hook_of(name)) for name, module in layers.items()]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    return caught


@pytest.mark.parametrize("library", NETWORKS)
def test_a_tutorials_network_counts_as_loops_do(library: str) -> None:
    torch.manual_seed(0)
    build, options = NETWORKS[library]
    network, images = build().eval(), torch.rand(3, 1, 8, 8)
    found = profile(network, images=images, images_per_batch=2, **options)
    caught = caught_inputs(network, lambda: network(options.get("inputs", lambda x: x)(images)))
    functional.reset_net(network)
    assert found.activity is not None
    assert {each.name for each in found.activity.synapses} == set(caught)
    for each in found.activity.synapses:
        module, calls = network.get_submodule(each.name), caught[each.name]
        inputs = np.stack(calls) if len(calls) == T else calls[0]  # (T, N, …)
        assert each.dense == products_of(inputs, module)
        assert (each.inputs, each.nonzero) == (inputs.size, int(np.count_nonzero(inputs)))
        assert each.used == pairs_by_loops(inputs != 0, module)
        if each.codes:
            counts = inputs.sum(0).astype(int)
            digits = np.vectorize(lambda count: int(count).bit_count())(counts)
            assert (each.codes.timesteps, each.codes.most, each.codes.unary) == (T, int(counts.max()), each.used)
            assert each.codes.digits == pairs_by_loops(digits, module)
            assert each.codes.events == pairs_by_loops(counts != 0, module)
    assert [each.operation for each in found.activity.synapses][1] == "AC"
    assert (found.timesteps, found.activity.uncounted) == (T, {})
    assert 0 < (found.activity.spike_rate or 0) < 1
    assert {each.name for each in found.estimates if each.network} >= {"arithmetic-float32", "memory-shift-add"}


def test_counting_changes_nothing() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(72, 3)).train()
    network[1].eval()
    before = [tensor.clone() for tensor in network.state_dict().values()]
    random, images = torch.get_rng_state(), torch.rand(2, 1, 8, 8)
    torch.set_rng_state(random)
    found = profile(network, images=images)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(a, b) for a, b in zip(before, network.state_dict().values(), strict=True))
    assert [module.training for module in network] == [True, False, True, True, True]
    wrapped = profile(nn.DataParallel(network), images=images)
    assert (wrapped.name, wrapped.activity) == (found.name, found.activity)


def test_as_many_images_as_timesteps_are_told_apart_by_the_first() -> None:
    images = torch.rand(T, 1, 8, 8)
    network, options = spikingjelly_network().eval(), NETWORKS["spikingjelly"][1]
    found, one_by_one = (profile(network, images=images, images_per_batch=n, **options) for n in (T, 1))
    assert found.timesteps == T
    assert found.activity == one_by_one.activity


class Shared(nn.Module):
    """One layer that is called twice, and once more by torch.nn.functional."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.fc(self.fc(x)), self.fc.weight)


def test_a_layer_is_counted_for_every_call() -> None:
    found = profile(Shared(), images=torch.rand(5, 4))
    assert (found.macs, found.product_macs) == (3 * 16, 3 * 16)
    assert sum(each.macs for each in found.layers) == found.macs


class Pyramid(nn.Module):
    """A convolution of two sizes of maps, and weights of one shape that no layer holds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)
        self.into, self.back = nn.Parameter(torch.ones(4, 4)), nn.Parameter(torch.ones(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        self.conv(x[:, None, :2, :2].ceil())
        return nn.functional.linear((self.conv(x[:, None].ceil())[:, 0] @ self.into).ceil(), self.back)


def test_weights_outside_layers_are_told_apart_by_name() -> None:
    found = profile(Pyramid(), images=torch.rand(2, 4, 4)).activity
    assert found is not None
    assert [(each.name, each.dense) for each in found.synapses] == [("conv", 40), ("into", 128), ("back", 128)]


@pytest.mark.parametrize(
    "module",
    [
        nn.LSTM(8, 5, batch_first=True),
        nn.GRU(8, 5, batch_first=True),
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu"),
        nn.Sequential(nn.Conv1d(6, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.SiLU(), nn.ConvTranspose1d(4, 2, 2)),
    ],
    ids=lambda module: type(module).__name__,
)
def test_every_operation_has_a_price(module: nn.Module) -> None:
    found = profile(module, images=torch.rand(2, 6, 8))
    assert found.activity is not None
    assert found.activity.uncounted == {}
    assert found.macs > 0


def test_counting_does_not_load_torchs_compiler() -> None:
    code = (
        "import sys, torch, zoo; zoo.profile(torch.nn.Linear(4, 2), images=torch.ones(1, 4)); "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


class Divided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / (x - x)


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no such thing")


@pytest.mark.parametrize(
    ("module", "arguments", "error", "named"),
    [
        (nn.Identity(), {}, OptionError, "images="),
        (nn.Identity(), {"images": ["cat.png"]}, InputError, "str"),
        (nn.Identity(), {"images": torch.full((1, 3), torch.nan)}, InputError, "NaN"),
        (nn.Identity(), {"images": torch.rand(0, 3)}, InputError, "no images"),
        (nn.Identity(), {"images": 5}, InputError, "int"),
        (Divided(), {"images": torch.zeros(1, 3)}, CountingError, "Divided returns NaN"),
        (nn.Identity(), {"images": torch.rand(1, 3), "reset": len}, CountingError, "reset= raised TypeError"),
        (nn.Identity(), {"images": torch.rand(1, 3), "inputs": float}, CountingError, "inputs= raised"),
        (nn.Sequential(nn.Linear(3, 3), Broken()), {"images": torch.rand(1, 3)}, CountingError, "1 .Broken"),
        (
            nn.Sequential(nn.Linear(3, 2), neuron.LIFNode()),
            {"images": torch.full((1, 3), 2 / 3)},
            CountingError,
            "reset_net",
        ),
    ],
    ids=range(10),
)
def test_bad_input_has_its_own_error(module: nn.Module, arguments: Any, error: type[Exception], named: str) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(0.5)
    with pytest.raises(error, match=named):
        profile(module, **arguments)


def test_a_layer_with_values_that_are_not_finite_is_named() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight.fill_(torch.inf)
    with pytest.raises(CountingError, match=r"^1 \(Linear\)"):
        profile(network, images=torch.ones(1, 2))
