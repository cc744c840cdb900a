"""Spike rates of layers while a network runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from zoo.contracts.neuron import GRADED, REAL, SIGNED, Neuron
from zoo.families.thresholds import ScaledActivation, SpikingActivation
from zoo.profiling.prices import NEURONS


@final
class LayerRate(NamedTuple):
    """Spikes per neuron and timestep in one call of a layer, with their gradient, and the number of its outputs."""

    layer: str
    rate: Tensor
    outputs: int


def spiking_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers that spike, and quantised activations, which stand for some; by name.

    A neuron inside an activation stands under the activation's name: hooked itself it would run without its kernel.
    """
    inside = {module.neuron for module in model.modules() if isinstance(module, SpikingActivation)}
    real = {module for module in model.modules() if isinstance(module, Neuron) and module.code == REAL}
    kinds = (*NEURONS, ScaledActivation)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, kinds)}
    return {name: module for name, module in layers.items() if module not in inside | real}


@contextmanager
def spike_rates(layers: Mapping[str, nn.Module]) -> Iterator[list[LayerRate]]:
    """Collect the rate of every call; that of an activation is of the neurons in it, or of those that it stands for."""
    rates: list[LayerRate] = []

    def keep(name: str, output: Tensor) -> None:
        layer = layers[name]
        rate = _sizes(layer, output).mean(dtype=torch.float32)
        if isinstance(layer, ScaledActivation):
            rate = _rate_of(layer, output, rate)
        rates.append(LayerRate(name, rate, output.numel()))

    with watching(layers, keep):
        yield rates


def _sizes(layer: nn.Module, output: Tensor) -> Tensor:
    """Return how many spikes each output is, those below 0 as well; of 0 the gradient is that of a positive one."""
    neuron = layer.neuron if isinstance(layer, SpikingActivation) else layer
    has_sign = isinstance(neuron, Neuron) and neuron.code in (SIGNED, GRADED)
    return torch.where(output < 0, -output, output) if has_sign else output


def _rate_of(layer: ScaledActivation, output: Tensor, mean: Tensor) -> Tensor:
    """Return the rate of an activation; of digits computed as numbers with the gradient of their mean."""
    if not isinstance(layer, SpikingActivation):
        return mean / layer.scale.to(output.dtype)
    if not layer.on_numbers:
        return mean / layer.unit.to(output.dtype)  # as a spike was rounded
    share = mean / layer.scale
    level = (output.detach().float() / layer.scale.detach() * layer.levels).round().long()
    digits = [((level & place) != 0).float().mean() for place in layer.places]
    return share + (torch.stack(digits).mean() - share).detach()


def mean_rate(rates: Sequence[LayerRate]) -> float | None:
    """Return spikes per neuron and timestep over all layers; None without layers."""
    outputs = sum(call.outputs for call in rates)
    return sum(float(call.rate.detach()) * call.outputs for call in rates) / outputs if outputs else None


@contextmanager
def watching(modules: Mapping[str, nn.Module], note: Callable[[str, Any], None]) -> Iterator[None]:
    """Call `note` inside the block with the name and the output of each of these modules whenever it runs."""

    def hook_of(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, inputs, output: note(name, output)

    with ExitStack() as stack:
        for name, module in modules.items():
            stack.callback(module.register_forward_hook(hook_of(name)).remove)
        yield
