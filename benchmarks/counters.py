"""Counters of operations side by side, with the reason for every difference, and two published figures recounted.

pip install syops neurobench progress ./plugins/zoo-convert ./plugins/zoo-spikingjelly; python -m benchmarks.counters
"""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import typer
from fvcore.nn import FlopCountAnalysis
from spikingjelly.activation_based import functional, layer, neuron
from spikingjelly.activation_based.op_counter import (
    DispatchCounterMode,
    LemaireEnergyConfig,
    LemaireEnergyProfiler,
    MACCounter,
    SynOpCounter,
)
from torch import Tensor, nn

from benchmarks.common.reporting import RESULTS, Out, describe_command, markdown_table
from zoo import create_model
from zoo.contracts import SynapticLayer
from zoo.profiling import profile

IMAGES, TIMESTEPS, SIDE = 8, 4, 16
COLUMNS = ("counter", "ACs an image", "MACs an image", "differs, since")


class Network(nn.Module):
    """A convolutional network of integrate-and-fire neurons that loops over T; its image comes in at every timestep."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), neuron.IFNode(), nn.AvgPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), neuron.IFNode()),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), neuron.IFNode()),
            *(nn.Flatten(), nn.Linear(32 * SIDE * SIDE // 4, 10)),
        )

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        return torch.stack([self.body(x) for _ in range(TIMESTEPS)]).mean(0)


def ours(network: nn.Module, images: Tensor) -> tuple[float, float, str]:
    """This project's counter, synapses alone."""
    found = profile(network, images=images).activity
    assert found is not None
    return found.synaptic.acs / IMAGES, found.synaptic.macs / IMAGES, ""


def spikingjelly(network: nn.Module, images: Tensor) -> tuple[float, float, str]:
    """spikingjelly's op_counter."""
    synops, macs = SynOpCounter(), MACCounter()
    with torch.no_grad(), DispatchCounterMode([synops, macs]):
        network(images)
    reason = "MACs: batch norms too, and a product that takes spikes in is none"
    return synops.get_total() / IMAGES, macs.get_total() / IMAGES, reason


def neurobench(network: nn.Module, images: Tensor) -> tuple[float, float, str]:
    """NeuroBench's synaptic operations, whose hooks lie on layers that its models list."""
    layer_macs = importlib.import_module("neurobench.metrics.utils.layers").single_layer_MACs

    totals, calls = {True: 0.0, False: 0.0}, []
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_pre_hook(lambda m, args: calls.append((m, args[0]))) for layer in layers]
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    for called, x in calls:
        operations, spiking = layer_macs(x, called)
        totals[spiking] += float(operations)
    return totals[True] / IMAGES, totals[False] / IMAGES, "MACs whose input or weight is 0 are left out"


def syops(network: nn.Module, images: Tensor) -> tuple[float, float, str]:
    """syops, which multiplies a layer's MACs by the share of its inputs that is not 0."""
    for kind in ("IF", "LIF", "ParametricLIF"):  # names of spikingjelly before 0.0.0.0.12, which syops imports
        setattr(neuron, f"MultiStep{kind}Node", getattr(neuron, f"{kind}Node"))
    count = importlib.import_module("syops").get_model_complexity_info

    loader = [(image[None], torch.zeros(1)) for image in images]
    with contextlib.redirect_stdout(io.StringIO()):
        (_, acs, macs, *_), _ = count(network, (3, SIDE, SIDE), loader, as_strings=False, print_per_layer_stat=False)
    return acs, macs, "ACs: a rate for all weights alike, borders and biases too; MACs: biases, norms, pooling, neurons"


def fvcore(network: nn.Module, images: Tensor) -> tuple[float, float, str]:
    """fvcore, which knows no spikes."""
    analysis = FlopCountAnalysis(network.eval(), images[:1])
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return 0.0, float(analysis.total()), "every product is a MAC, spikes and zeros too; batch norms and pooling"


# Published figures ----------------------------------------------------------------------------------------------------

SPIKFORMER_COLUMNS = ("part of Spikformer-4-384", "dense, M", "spike rate, %", "rate × dense, M", "pairs that meet, M")
PARTS = {"patch convolutions": "stages.0", "products of attention": "bmm", "linear layers": "stages.1"}
"""Part → a word in the names of its layers; a layer belongs to the first that fits."""


def spikformer() -> list[tuple[Any, ...]]:
    """Count Spikformer's parts, untrained with norms of these images, as its authors' script does and pair by pair."""
    network, images = create_model("sj_spikformer4384", num_classes=10), torch.rand(IMAGES, 3, 32, 32)
    found = profile(normed(network, images), images=images).activity
    assert found is not None
    spiking = [each for each in found.synapses if each.operation == "AC"]
    parts = {each.name: next(part for part, word in PARTS.items() if word in each.name) for each in spiking}
    return [spikformer_row(part, [each for each in spiking if parts[each.name] == part]) for part in PARTS]


def spikformer_row(part: str, layers: list[SynapticLayer]) -> tuple[Any, ...]:
    dense, used = sum(each.dense for each in layers), sum(each.used for each in layers)
    by_rate = sum(each.dense * each.nonzero / each.inputs for each in layers)
    counts = [f"{number / IMAGES / 1e6:,.1f}" for number in (dense, by_rate, used)]
    return part, counts[0], f"{100 * by_rate / dense:.1f}", *counts[1:]


def normed(network: nn.Module, x: Tensor) -> nn.Module:
    """Set the batch norms of a network to the statistics of x."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.momentum = None
    with torch.no_grad():
        network.train()(x)
    functional.reset_net(network)
    return network.eval()


LEMAIRE_COLUMNS = ("threshold", "spikes a neuron and timestep", "spikes a synapse and image", "energy ÷ ReLU's")
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)
"""Channels of convolutions; 0 stands for max pooling."""


def vgg16(activation: Callable[[], nn.Module]) -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width in VGG16:
        convolution = (layer.Conv2d(channels, width or 1, 3, padding=1), layer.BatchNorm2d(width or 1))
        layers += (*convolution, activation()) if width else (layer.MaxPool2d(2),)
        channels = width or channels
    return nn.Sequential(*layers, layer.Flatten(), layer.Linear(channels, 10))


def lemaire_energy(network: nn.Module, x: Tensor) -> float:
    """Picojoules by the formulas of Lemaire and others, memory included, as spikingjelly has them."""
    profiler = LemaireEnergyProfiler(config=LemaireEnergyConfig(strict=False))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # norms and pooling have no formula
        profiler.bind_model(network)
        with profiler:
            network(x)
    return profiler.get_report().total_pj


def lemaire() -> list[tuple[Any, ...]]:
    """Compare VGG-16 of integrate-and-fire neurons with that of ReLUs, at thresholds that make them fire less."""
    images, rows = torch.rand(IMAGES, 3, 32, 32), []
    reference = lemaire_energy(normed(vgg16(nn.ReLU), images), images[:1])
    for threshold in (1.0, 2.0, 3.0, 3.5):
        network = vgg16(partial(neuron.IFNode, v_threshold=threshold))
        functional.set_step_mode(network, "m")
        energy = lemaire_energy(normed(network, over_time(images)), over_time(images[:1]))
        found = profile(network, images=images[:1], reset=functional.reset_net, inputs=over_time).activity
        assert found is not None
        spikes = TIMESTEPS * (found.synaptic_spike_rate or 0)
        rows.append((f"{threshold}", f"{found.spike_rate:.3f}", f"{spikes:.2f}", f"{energy / reference:.2f}"))
    return rows


def over_time(x: Tensor) -> Tensor:
    return x.repeat(TIMESTEPS, 1, 1, 1, 1)


def main(out: Out = RESULTS) -> None:
    """Count by every counter that is installed, print the table, and write counters.md."""
    torch.manual_seed(0)
    network, images = Network(), torch.rand(IMAGES, 3, SIDE, SIDE)
    normed(network, images)
    rows: list[tuple[Any, ...]] = []
    for counter in (ours, spikingjelly, neurobench, syops, fvcore):
        acs, macs, reason = counter(network, images)
        rows.append(("has8-zoo" if counter is ours else counter.__name__, f"{acs:,.0f}", f"{macs:,.0f}", reason))
    tables = [
        markdown_table(COLUMNS, rows, last_is_words=True),
        markdown_table(SPIKFORMER_COLUMNS, spikformer()),
        markdown_table(LEMAIRE_COLUMNS, lemaire()),
    ]
    text = "\n\n".join(tables)
    typer.echo(text)
    (out / "counters.md").write_text(f"# Counters\n\n`{describe_command()}`\n\n{text}\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
