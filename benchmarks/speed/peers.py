"""Other libraries beside ours, on the same task: spikingjelly's SEW-ResNet18, and neurons alone.

A neuron's step is the spikes of (T, N, C, H, W) currents and the gradient of their sum: LIF, τ = 2, hard reset, arctan
surrogate, in spikingjelly (multi-step), in snntorch (a loop over T, as its users write it) and in ours.
Our three resets, and the second branches of one hybrid, are timed in a training step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

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
RESETS: dict[str, dict[str, float | bool | None]] = {
    "hard": {},
    "soft, streaming": {"v_reset": None, "v_init": 0.5},
    "soft, waiting": {"v_reset": None, "v_init": 0.5, "waits": True},
}
BRANCHES = {
    "control": "ann_resnet_b32_m2_d4",
    "dual": "dual_resnet_b32_m2_d4",
    "spikes": "has8_resnet_b32_m2_d4_ste_bpd",
    "digits": "has8_resnet_b32_m2_d4_ste_bpd_radix",
}
"""Networks of one shape, by their second branch; the control has none."""
BRANCH_BATCH = 64
RESET_NETWORK, RESET_TIMESTEPS, RESET_BATCH = "sew_resnetfull_b32_m2_d4_direct", 4, 32


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


def _network_step(network: nn.Module, training: bool, batch: int = 16, dtype: str = "float32") -> Step:
    work = Work("peer", "", "", 32, batch, training, dtype)
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
    for dtype in ("float32", "bfloat16"):
        task = f"{RESET_NETWORK} 32×{RESET_BATCH} T = {RESET_TIMESTEPS} training {dtype}, by reset"
        steps[task] = {reset: _reset_step(options, dtype) for reset, options in RESETS.items()}
        task = f"resnet_b32_m2_d4 32×{BRANCH_BATCH} training {dtype}, by second branch"
        steps[task] = {branch: _branch_step(name, dtype) for branch, name in BRANCHES.items()}
    return steps


def _reset_step(options: dict[str, float | bool | None], dtype: str) -> Step:
    network = zoo.create_model(
        RESET_NETWORK,
        pretrained=False,
        num_classes=CLASSES,
        encoder_options={"timesteps": RESET_TIMESTEPS},
        neuron_options=options,
    )
    return _network_step(network, training=True, batch=RESET_BATCH, dtype=dtype)


def _branch_step(name: str, dtype: str) -> Step:
    network = zoo.create_model(name, pretrained=False, num_classes=CLASSES)
    return _network_step(network, training=True, batch=BRANCH_BATCH, dtype=dtype)


def measure_peers(repeats: int, threads: Sequence[int]) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds by task, number of threads and library: the median of the rounds on the clock."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for count in threads:
        torch.set_num_threads(count)
        for task, steps in peer_steps().items():
            taken = interleave(steps, repeats, time_step)
            middle = {name: 1000 * median(clock for clock, _ in rounds) for name, rounds in taken.items()}
            found.setdefault(task, {})[str(count)] = middle
    return found
