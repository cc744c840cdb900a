"""Other libraries beside ours, on the same task: spikingjelly's SEW-ResNet18, and neurons alone.

A neuron's step is the spikes of (T, N, C, H, W) currents and the gradient of their sum: LIF, τ = 2, hard reset, arctan
surrogate, in spikingjelly (multi-step), in snntorch (a loop over T, as its users write it) and in ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import snntorch
import torch
from snntorch import surrogate as snntorch_surrogate
from spikingjelly.activation_based import neuron, surrogate
from torch import Tensor, nn

import zoo
from benchmarks.common.timing import interleave, time_step
from benchmarks.speed.steps import CLASSES, SewPeer, Step, Work, make_images, step_of
from zoo.neurons.nodes import LIFNeuron

TIMESTEPS, CURRENTS = 8, (8, 64, 64, 16, 16)


class SnntorchLif(nn.Module):
    """snntorch's Leaky over (T, N, …); a spike zeroes the potential."""

    def __init__(self) -> None:
        super().__init__()
        self.node = snntorch.Leaky(
            beta=0.5, reset_mechanism="zero", spike_grad=snntorch_surrogate.atan(), init_hidden=False
        )

    def forward(self, x: Tensor) -> Tensor:
        potential = self.node.reset_mem()
        spikes = []
        for current in x:
            spike, potential = self.node(current, potential)
            spikes.append(spike)
        return torch.stack(spikes)


class SpikingjellyLif(nn.Module):
    """spikingjelly's LIFNode over (T, N, …), from rest on every call."""

    def __init__(self) -> None:
        super().__init__()
        self.node = neuron.LIFNode(surrogate_function=surrogate.ATan(), step_mode="m")

    def forward(self, x: Tensor) -> Tensor:
        self.node.reset()
        spikes: Tensor = self.node(x)
        return spikes


def _neuron_step(made: nn.Module) -> Step:
    x = torch.randn(CURRENTS, generator=torch.Generator().manual_seed(0)).requires_grad_()

    def step() -> None:
        torch.autograd.grad(made(x).sum(), x)

    return step


def _network_step(network: nn.Module, training: bool) -> Step:
    work = Work("peer", "", "", 32, 16, training, "float32")
    return step_of(network.train(training), make_images(work), work)


def peer_steps() -> dict[str, dict[str, Step]]:
    """What is timed together, by task."""
    ours = zoo.create_model("sew_resnet18_direct", pretrained=False, num_classes=CLASSES, timesteps=TIMESTEPS)
    networks = {"ours": ours, "spikingjelly": SewPeer(TIMESTEPS)}
    neurons: dict[str, Callable[[], nn.Module]] = {
        "ours": LIFNeuron,
        "spikingjelly": SpikingjellyLif,
        "snntorch": SnntorchLif,
    }
    steps = {"LIF forward and backward": {name: _neuron_step(make()) for name, make in neurons.items()}}
    for training in (False, True):
        task = f"SEW-ResNet18 32×16 T = {TIMESTEPS} {'training' if training else 'inference'}"
        steps[task] = {name: _network_step(network, training) for name, network in networks.items()}
    return steps


def measure_peers(repeats: int, threads: Sequence[int]) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds by task, number of threads and library: the least of the rounds on the clock."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for count in threads:
        torch.set_num_threads(count)
        for task, steps in peer_steps().items():
            taken = interleave(steps, repeats, time_step)
            least = {name: 1000 * min(clock for clock, _ in each) for name, each in taken.items()}
            found.setdefault(task, {})[str(count)] = least
    return found
