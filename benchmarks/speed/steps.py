"""Steps that the speed benchmark times: forward or training, of a network, its bare layers, a peer.

A training step is forward, cross-entropy and backward, without an optimiser, which is the same for all. Run as a script
it prints the peak memory of one step in a process of its own:

    python -m benchmarks.speed.steps '{"subject": "ours", "model": "resnet_b32_m2_d4", …}'
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from spikingjelly.activation_based import functional as spiking_functional
from spikingjelly.activation_based import neuron, surrogate
from spikingjelly.activation_based.model import sew_resnet
from torch import Tensor, nn
from torch.nn import functional

import zoo
from benchmarks.common.reporting import ROOT

CLASSES = 10
LAYERS = (nn.Conv2d, nn.BatchNorm2d, nn.Linear)
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
EXACT_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""glibc gives every larger block back when it is freed, so that resident memory follows what is allocated."""

Step = Callable[[], None]


@dataclass(frozen=True)
class Work:
    """One figure's subject (see benchmarks/speed/__main__.py) and setting.

    `clone` is the folder of the published code.
    """

    subject: str
    model: str
    encoder: str
    size: int
    batch: int
    training: bool
    dtype: str
    device: str = "cpu"
    clone: str = ""

    @property
    def is_hybrid(self) -> bool:
        """False for a `model` of spikes alone, which is a whole name, such as `sew_resnet_b32_m2_d4_direct`."""
        return not self.model.startswith("sew_")

    def autocast(self) -> AbstractContextManager[None]:
        """Autocast to bfloat16 if `dtype` says so."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.dtype == "bfloat16")


class SewPeer(nn.Module):
    """spikingjelly's SEW-ResNet18: the image repeated T times, logits averaged over T, then reset."""

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self.timesteps = timesteps
        options = {"spiking_neuron": neuron.IFNode, "surrogate_function": surrogate.ATan(), "num_classes": CLASSES}
        self.network = sew_resnet.sew_resnet18(cnf="ADD", **options)
        spiking_functional.set_step_mode(self.network, "m")

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x.expand(self.timesteps, *x.shape)).mean(0)
        spiking_functional.reset_net(self.network)
        return logits


PUBLISHED = {"resnet_b32_m2_d4": "has8_rn_b32_m2_d4", "resnet_b64_m2_d4": "has8_rn_b64_m2_d4"} | {
    f"vgg_b{base}_m2_d4": f"has8_vgg_b{base}_m2_d4" for base in (16, 24)
}
"""Our name of a size → the function of the published code that builds it; its encoder is `fourier`."""


class Published(nn.Module):
    """A network by the code in `clone`, a clone of github.com/luutn2002/has-8; neurons are reset after every batch."""

    def __init__(self, clone: str, model: str) -> None:
        super().__init__()
        if not Path(clone, "has_8", "__init__.py").is_file():
            raise ValueError(f"{clone} has no has_8/__init__.py; give a clone of github.com/luutn2002/has-8")
        if clone not in sys.path:
            sys.path.insert(0, clone)
        self.network: nn.Module = getattr(import_module("has_8"), PUBLISHED[model])(3, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        spiking_functional.reset_net(self.network)
        return logits


def build_network(work: Work) -> nn.Module:
    """Build any subject but the floor: plain, published, or ours as it is, fused, or compiled."""
    torch.manual_seed(0)
    if work.subject == "published":
        return Published(work.clone, work.model)
    name = f"has8_{work.model}_{work.encoder}_bpd" if work.is_hybrid else work.model
    if work.subject == "plain":
        name = f"has8_{work.model.replace('_', 'ref_', 1)}_{work.encoder}ref_bpdref_lifref"
    model = zoo.create_model(name, pretrained=False, num_classes=CLASSES)
    if work.subject == "ours fused":
        return model.eval().fuse(torch.bfloat16 if work.dtype == "bfloat16" else None)
    return torch.compile(model) if work.subject == "ours compiled" else model  # type: ignore[return-value]


class LayerCall:
    """One layer alone on a fixed input, and its gradients against a fixed one."""

    def __init__(self, made: nn.Module, x: Tensor, gradient: Tensor) -> None:
        self.layer, self.x, self.gradient = made, x, gradient
        self.sources = [*made.parameters(), *([x] if x.requires_grad else [])]

    def backward(self, output: Tensor) -> None:
        torch.autograd.grad(output, self.sources, self.gradient)


def _plain_layer(module: nn.Module, fused: bool) -> nn.Module:
    """The same layer without spikingjelly's steps: four-dimensional input. A fused convolution has a bias."""
    if isinstance(module, nn.Conv2d):
        settings: dict[str, Any] = {"stride": module.stride, "padding": module.padding}
        settings["bias"] = fused or module.bias is not None
        size: Any = module.kernel_size
        return nn.Conv2d(module.in_channels, module.out_channels, size, **settings)
    if isinstance(module, nn.BatchNorm2d):
        return nn.BatchNorm2d(module.num_features)
    assert isinstance(module, nn.Linear)
    return nn.Linear(module.in_features, module.out_features)


def layer_calls(work: Work, memory_format: torch.memory_format = torch.contiguous_format) -> list[LayerCall]:
    """Every convolution, norm and linear layer of the network in the order in which it runs them; no norms if fused.

    Shapes are those that hooks see in ours; inputs of one shape share their memory, in the type that autocast gives
    them. Fused layers have their weights in that type.
    """
    seen: list[tuple[nn.Module, torch.Size, torch.Size, bool]] = []
    fused = work.subject.startswith("floor fused")
    kinds = (nn.Conv2d, nn.Linear) if fused else LAYERS

    def batched(x: Tensor) -> torch.Size:
        """The shape for the whole batch of what one image has made: (T, 1, …), (T, …) and (1, …) are a batch of T."""
        own = 3 if x.dim() > 3 else 1
        return torch.Size((x.shape[:-own].numel() * work.batch, *x.shape[-own:]))

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        differentiable = inputs[0].requires_grad and work.training
        seen.append((_plain_layer(module, fused), batched(inputs[0]), batched(output), differentiable))

    network = build_network(replace(work, subject="ours")).eval()  # a single image has no batch statistics
    for each in network.modules():
        if isinstance(each, kinds):
            each.register_forward_hook(record)
    network(make_images(work, batch=1))
    dtype = torch.bfloat16 if work.dtype == "bfloat16" else torch.float32

    @cache
    def tensor(shape: torch.Size, differentiable: bool = False) -> Tensor:
        values = torch.randn(shape, dtype=dtype, device=work.device)
        return (values.to(memory_format=memory_format) if len(shape) == 4 else values).requires_grad_(differentiable)

    for made, *_ in seen:
        made.to(work.device, memory_format=memory_format).train(work.training)  # type: ignore[call-overload] # it has it
        if fused:
            made.to(dtype)
    return [
        LayerCall(made, tensor(given, differentiable), tensor(made_of)) for made, given, made_of, differentiable in seen
    ]


def floor_step(work: Work, memory_format: torch.memory_format = torch.contiguous_format) -> Step:
    """All layers forward, and in training all backward in reverse order."""
    calls = layer_calls(work, memory_format)
    around = nullcontext if work.subject.startswith("floor fused") else work.autocast

    def infer() -> None:
        with torch.no_grad(), around():
            for call in calls:
                call.layer(call.x)

    def train() -> None:
        with work.autocast():
            outputs = [call.layer(call.x) for call in calls]
        for call in reversed(calls):
            call.backward(outputs.pop())

    return train if work.training else infer


def make_images(work: Work, batch: int | None = None) -> Tensor:
    """Random pixels in [0, 1], (N, 3, size, size)."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand((batch or work.batch, 3, work.size, work.size), generator=generator)


def network_step(work: Work) -> Step:
    """A forward, or a forward and a backward, of a whole network."""
    network = build_network(work).to(work.device).train(work.training)
    x = make_images(work).to(work.device)
    return step_of(network, x, work)


def step_of(network: nn.Module, x: Tensor, work: Work) -> Step:
    """The same of a network and images that lie on the device."""
    labels = torch.arange(work.batch, device=work.device) % CLASSES

    def infer() -> None:
        with torch.no_grad(), work.autocast():
            network(x)

    def train() -> None:
        network.zero_grad(set_to_none=True)
        with work.autocast():
            loss = functional.cross_entropy(network(x).float(), labels)
        loss.backward()

    return train if work.training else infer


def build_step(work: Work) -> Step:
    """Build the step to be timed; it returns when the device is done."""
    if work.subject.startswith("floor"):
        last = work.subject.endswith("channels_last")
        step = floor_step(work, torch.channels_last if last else torch.contiguous_format)
    else:
        step = network_step(work)
    if work.device == "cpu":
        return step

    def synchronised() -> None:
        step()
        torch.cuda.synchronize()

    return synchronised


def _status(key: str) -> int:
    """Bytes of one line of /proc/self/status."""
    line = next(each for each in STATUS.read_text(encoding="ascii").splitlines() if each.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


def peak_of_step(work: Work) -> int:
    """Bytes by which one step raises memory over what lies there before it: weights, input, layers' fixed inputs.

    The first step warms up libraries. On the CPU it is the process' resident memory, so what torch's allocator and
    oneDNN's own buffers take counts alike; on CUDA it is torch's allocator.
    """
    step = build_step(work)
    step()
    if work.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        return torch.cuda.max_memory_allocated() - before
    CLEAR_REFS.write_text("5", encoding="ascii")  # resets the peak
    before = _status("VmRSS")
    step()
    return _status("VmHWM") - before


def peak_memory(work: Work, threads: int) -> int | None:
    """Measure it in a fresh process; None if the system keeps no resettable peak (Linux alone does)."""
    if work.device == "cpu" and not CLEAR_REFS.exists():
        return None
    environment: Mapping[str, str] = os.environ | EXACT_MALLOC | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "benchmarks.speed.steps", json.dumps(asdict(work))]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with status {done.returncode}:\n{done.stderr}")
    return int(done.stdout)


if __name__ == "__main__":
    print(peak_of_step(Work(**json.loads(sys.argv[1]))))
