"""Counters of operations side by side, on one spiking network, with the reason for every difference.

pip install syops neurobench progress; python -m benchmarks.counters
"""

from __future__ import annotations

import contextlib
import importlib
import io
from typing import Any

import torch
import typer
from fvcore.nn import FlopCountAnalysis
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based.op_counter import DispatchCounterMode, MACCounter, SynOpCounter
from torch import Tensor, nn

from benchmarks.common.reporting import RESULTS, Out, describe_command, markdown_table
from zoo.profiling import profile

IMAGES, TIMESTEPS, SIDE = 8, 4, 16
COLUMNS = ("counter", "ACs an image", "MACs an image", "differs, since")


class Network(nn.Module):
    """A convolutional network of integrate-and-fire neurons that loops over T; its image comes in at every timestep."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16, momentum=None), neuron.IFNode(), nn.AvgPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32, momentum=None), neuron.IFNode()),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32, momentum=None), neuron.IFNode()),
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
    for layer, x in calls:
        operations, spiking = layer_macs(x, layer)
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


def main(out: Out = RESULTS) -> None:
    """Count by every counter that is installed, print the table, and write counters.md."""
    torch.manual_seed(0)
    network, images = Network(), torch.rand(IMAGES, 3, SIDE, SIDE)
    with torch.no_grad():
        network(images)
    network.eval()
    rows: list[tuple[Any, ...]] = []
    for counter in (ours, spikingjelly, neurobench, syops, fvcore):
        acs, macs, reason = counter(network, images)
        rows.append(("has8-zoo" if counter is ours else counter.__name__, f"{acs:,.0f}", f"{macs:,.0f}", reason))
    table = markdown_table(COLUMNS, rows, last_is_words=True)
    typer.echo(table)
    (out / "counters.md").write_text(f"# Counters\n\n`{describe_command()}`\n\n{table}\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
