"""Networks on the numbers that spikes stand for, and in the digits of these numbers.

A layer without bias of digits S_t is Σ_t 2^t (W S_t) = W Σ_t 2^t S_t: what takes them in may be computed on the number
instead, once. Neurons that wait for all T currents write a number too, in unary or in digits. So their networks answer
on numbers, and are written in spikes where spikes are looked at.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar, final

from torch import Tensor, nn

from zoo.decoders.averages import DigitDecoder
from zoo.families.fusion import adjacent_layers
from zoo.families.paired import PairedBlock, writes_digits
from zoo.families.thresholds import QuantisedReLU, SpikingActivation
from zoo.neurons.nodes import IFNeuron
from zoo.neurons.radix import RadixNeuron

Network = TypeVar("Network", bound=nn.Module)


@final
class PooledPotential(nn.Module):
    """Pools the sum over digits, before neurons that write the next ones fire: (T·N, C, H, W) → (T·N, C, H', W').

    The digits of the largest number are not the largest of the digits.
    """

    def __init__(self, pool: nn.Module, places: Sequence[int]) -> None:
        super().__init__()
        self.sum, self.pool, self.timesteps = DigitDecoder(places), pool, len(places)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.pool(self.sum(x.unflatten(0, (self.timesteps, -1))))
        return pooled.expand(self.timesteps, *pooled.shape).flatten(0, 1)


def pool_potentials(network: nn.Module) -> None:
    """Pool before neurons that write digits fire, in place: what lies behind one changes places with it."""
    for sequence in [module for module in network.modules() if type(module).forward is nn.Sequential.forward]:
        layers = _pooled_first(list(sequence.named_children()))
        firing = [layer for _, layer in layers if isinstance(layer, SpikingActivation)]
        if firing and writes_digits(firing[0].neuron):
            _lay_again(sequence, layers, firing)


def _lay_again(sequence: nn.Module, layers: list[tuple[str, nn.Module]], firing: Sequence[SpikingActivation]) -> None:
    """Give a sequence these layers, its pooling over digits where it has timesteps."""
    over_time = all(activation.encoder is None for activation in firing)  # else time begins in this sequence
    for name, layer in layers:
        delattr(sequence, name)
        over_time = over_time or layer is firing[0]
        pools = over_time and isinstance(layer, nn.MaxPool2d)
        sequence.add_module(name, PooledPotential(layer, firing[0].places) if pools else layer)


def _pooled_first(layers: list[tuple[str, nn.Module]]) -> list[tuple[str, nn.Module]]:
    """Order layers so that none pools behind an activation."""
    for i, ((_, first), (_, second)) in enumerate(pairwise(layers)):
        if isinstance(first, SpikingActivation) and isinstance(second, nn.MaxPool2d):
            return _pooled_first([*layers[:i], layers[i + 1], layers[i], *layers[i + 2 :]])
    return layers


_LINEAR = (nn.Conv2d, nn.BatchNorm2d, nn.AvgPool2d, nn.ReplicationPad2d, nn.Identity)
"""Layers through which a mean over T passes, in eval mode."""


def quantise_waiting(network: nn.Module) -> bool:
    """Replace waiting neurons by the quantised activations that they equal, in place; True if there were any.

    A neuron with θ = 1 and an initial potential of ½ that waits fires as often as the level nearest to its mean current
    says, and one that writes digits writes that level. What lies between such neurons must pass a mean on: linear
    layers do, and max pooling right behind a neuron, whose spikes come first and then none. A network with anything
    else is left as it is.

    Args:
        network: layers that carry (T·N, …) behind the first activation; the quantised ones carry (N, …).
    """
    modules = dict(network.named_modules())
    firing = {name: module for name, module in modules.items() if isinstance(module, SpikingActivation)}
    pooled = {name: module for name, module in modules.items() if isinstance(module, PooledPotential)}
    if not firing or not all(_waits(activation.neuron) for activation in firing.values()):
        return False
    digits = any(writes_digits(activation.neuron) for activation in firing.values())
    behind = {second for first, second in adjacent_layers(network) if first in firing}
    inside = tuple(f"{name}." for name in (*firing, *pooled))
    between = {name: module for name, module in modules.items() if not name.startswith(inside)}
    if not all(_passes_means(module, digits or name in behind) for name, module in between.items()):
        return False
    for name, activation in firing.items():
        quantised = QuantisedReLU(activation.levels)
        quantised.scale = activation.scale
        network.set_submodule(name, quantised.train(activation.training))
    for name, module in pooled.items():
        network.set_submodule(name, module.pool)
    return True


def _passes_means(module: nn.Module, may_pool: bool) -> bool:
    """Say if a mean over T passes a layer as well as its spikes do; a module of layers is judged by them."""
    if isinstance(module, (*_LINEAR, SpikingActivation, PooledPotential)) or any(module.children()):
        return True
    return may_pool and isinstance(module, nn.MaxPool2d)


def _waits(neuron: nn.Module) -> bool:
    if type(neuron) is RadixNeuron:
        return True
    if type(neuron) is not IFNeuron:
        return False
    return bool(neuron.waits and neuron.v_reset is None and neuron.v_threshold == 1 and neuron.v_init == 0.5)


def in_spikes(network: Network) -> Network:
    """Return a copy that computes in spikes what a network computes on numbers; the network itself if it does not."""
    if not any(isinstance(module, PairedBlock) and module.on_numbers for module in network.modules()):
        return network
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, PairedBlock | SpikingActivation):
            module.on_numbers = False
    pool_potentials(network)
    return network
