"""spikingjelly's networks taken apart: stages that start from rest on every call, and what the classifier needs."""

from __future__ import annotations

import copy
import importlib
from dataclasses import dataclass
from typing import Any, cast, final

from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import nn

from zoo.blocks import IFNeuron, LIFNeuron, StatelessNode
from zoo.errors import CompositionError
from zoo_spikingjelly.published import Published

_MODELS = "spikingjelly.activation_based.model"


@final
@dataclass(frozen=True)
class Parts:
    """A network without its classifier.

    Attributes:
        stages: one for each level, each a sequence of blocks over (T, N, C, H, W).
        head_neuron: fires between pooling and the mean over T; None for none.
    """

    stages: nn.Sequential
    head_neuron: nn.Module | None


def _if_neuron(**_: Any) -> nn.Module:
    """The SEW paper's: IF, arctan surrogate, the reset detached from the gradient."""
    return IFNeuron(detach_reset=True)


@final
class StatelessLIF(StatelessNode, neuron.LIFNode):
    """spikingjelly's LIF node with the settings of another, from rest on every call."""

    def __init__(self, node: Any) -> None:
        settings = {
            name: getattr(node, name) for name in ("tau", "decay_input", "v_threshold", "v_reset", "detach_reset")
        }
        theta = copy.deepcopy(node.surrogate_function)  # nodes of one signature share a default one
        neuron.LIFNode.__init__(self, surrogate_function=theta, step_mode="m", **settings)


def stateless(node: Any) -> LIFNeuron | StatelessLIF:
    """The zoo's LIF neuron with a node's own settings, if it has them; it starts from rest on every call.

    Raises:
        CompositionError: it is another kind of node.
    """
    if type(node) is not neuron.LIFNode or node.v_reset != 0.0:
        raise CompositionError(
            f"a neuron {type(node).__name__}(v_reset={node.v_reset}) keeps its state between calls, and "
            "zoo-spikingjelly knows how to reset LIFNode(v_reset=0.0) alone; install spikingjelly 2.0"
        )
    if not node.decay_input:
        return StatelessLIF(node)
    lif = LIFNeuron(tau=node.tau, v_threshold=node.v_threshold, detach_reset=node.detach_reset)
    if type(node.surrogate_function) is surrogate.ATan:
        lif.alpha = node.surrogate_function.alpha
    else:
        lif.surrogate_function = copy.deepcopy(node.surrogate_function)
    return lif


def _make_stateless(network: nn.Module) -> None:
    for name, module in list(network.named_modules()):
        if isinstance(module, neuron.BaseNode):
            network.set_submodule(name, stateless(module))


def _adapt_first_conv(network: nn.Module, in_chans: int) -> None:
    """Another number of image channels where spikingjelly's function has no argument for it; its own initialisation."""
    name, conv = next((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))
    if conv.in_channels == in_chans:
        return
    of_timesteps = isinstance(conv, layer.Conv2d)
    kind: Any = layer.Conv2d if of_timesteps else nn.Conv2d
    adapted = kind(in_chans, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=False)
    if of_timesteps:
        nn.init.kaiming_normal_(adapted.weight, mode="fan_out", nonlinearity="relu")
    else:  # Spikformer
        nn.init.trunc_normal_(adapted.weight, std=0.02)
    network.set_submodule(name, adapted)


def _pool_spikes(network: nn.Module) -> None:
    """Move every max pooling of a Spikformer's patches behind the neuron, where its authors have it."""
    for stage in cast(nn.Sequential, network.get_submodule("patch_embed.stages")):
        convolution = cast(nn.Sequential, stage.get_submodule("conv_bn.block"))
        if isinstance(convolution[-1], nn.MaxPool2d):
            pooling = convolution.pop(-1)
            stage.set_submodule(
                "neuron", nn.Sequential(stage.get_submodule("neuron"), layer.SeqToANNContainer(pooling))
            )


def _blocks(network: nn.Module, path: str) -> list[nn.Module]:
    module = network.get_submodule(path)
    return list(module) if isinstance(module, (nn.Sequential, nn.ModuleList)) else [module]


def make_parts(published: Published, timesteps: int, in_chans: int) -> Parts:
    """Build spikingjelly's network by its own function and take it apart; freshly initialised."""
    module, _, function = published.builder.partition(":")
    build = getattr(importlib.import_module(f"{_MODELS}.{module}"), function)
    offered = {"T": timesteps, "in_channels": in_chans, "cnf": "ADD", "spiking_neuron": _if_neuron}
    arguments = {name: offered[name] for name in published.arguments} | dict(published.settings)
    network = cast(nn.Module, build(num_classes=1, **arguments))
    _adapt_first_conv(network, in_chans)
    _make_stateless(network)
    if published.late_pooling:
        _pool_spikes(network)
    functional.set_step_mode(network, "m")
    stages = nn.Sequential()
    for level in published.levels:
        stages.append(nn.Sequential(*(block for path in level.modules for block in _blocks(network, path))))
    return Parts(stages, network.get_submodule(published.head_neuron) if published.head_neuron else None)
