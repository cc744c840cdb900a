"""A whole network as one NIR graph, from what its encoder gives at a timestep to the logits of that timestep.

Spikes are 1 in NIR, and a spike of ours is worth θ: that goes into the weights behind, and into the threshold before.
Logits are the mean over time of what comes out, since the head is linear. The nodes are such that norse, snntorch and
spikingjelly compute the same with them:

- Neurons that do not leak are LIF with a time constant of 2³⁰ timesteps, a leak below float32's rounding. snntorch 1.0
  reads NIR's IF with a leak of a tenth, and norse and spikingjelly want another resistance in it.
- A shortcut that is a convolution becomes part of the body's last one, and its spikes pass the body's neurons through
  relays, which fire when their input does. norse 1.1 runs branches one after another, and loses the second one's sum.
- A shortcut that changes nothing is an edge. The body's last convolution is divided by what its spikes are worth.
"""

from __future__ import annotations

from typing import Any, NoReturn, final

import nir
import numpy as np
import torch
from torch import Tensor, nn

from zoo.blocks import (
    EncodedOnceNetwork,
    IFNeuron,
    LIFNeuron,
    ParametricLIFNeuron,
    PooledLinearHead,
    Residual,
    SpikingActivation,
)
from zoo.errors import InputError

NO_LEAK = 2.0**30
"""Time constant, in timesteps, of a neuron that does not leak."""
_SURE = 2.0
"""Potential of a relay that takes in a spike, in thresholds."""


@torch.no_grad()
def network_graph(network: EncodedOnceNetwork, spikes: Tensor, dt: float) -> nir.NIRGraph:
    """Return the NIR graph of a network, from what its encoder gives at a timestep to logits of that timestep.

    Args:
        network: in eval mode, batch norms folded.
        spikes: (T, N, C, H, W), of an input; the graph has its shape.
        dt: seconds a timestep.

    Raises:
        InputError: names what cannot be expressed.
    """
    writer = _Writer(tuple(spikes.shape[2:]), dt)
    for name, module in network.stages.named_children():
        writer.add(module, f"stages.{name}")
    writer.add_head(network.head, "head")
    return nir.NIRGraph(writer.nodes, writer.edges)


@final
class _Writer:
    """A graph that grows at its end.

    Attributes:
        last: the node at the end.
        shape: of what it gives.
        worth: what a 1 of that stands for in the network.
    """

    def __init__(self, shape: tuple[int, ...], dt: float) -> None:
        self.nodes: dict[str, nir.NIRNode] = {"input": nir.Input(np.array(shape))}
        self.edges: list[tuple[str, str]] = []
        self.last, self.shape, self.worth, self.dt = "input", shape, 1.0, dt

    def add(self, module: nn.Module, name: str) -> None:
        """Add a layer, or the layers of a block."""
        if isinstance(module, SpikingActivation):
            self._fire(module, name)
        elif isinstance(module, nn.Conv2d):
            weight, bias = _parameters(module, name)
            self._convolve(module, name, weight * self.worth, bias)
        elif isinstance(module, Residual):
            self._add_residual(module, name)
        elif type(module).forward is nn.Sequential.forward:
            for child, layer in module.named_children():
                self.add(layer, f"{name}.{child}")
        elif not isinstance(module, nn.Identity):
            _refuse(name, module, "a network as a whole is made of convolutions, neurons and residual blocks of them")

    def add_head(self, head: nn.Module, name: str) -> None:
        """Add pooling and the linear layer, as one linear layer of all pixels, and the output."""
        if not isinstance(head, PooledLinearHead):
            _refuse(name, head, "it does more to the mean over time than a linear layer does")
        if not isinstance(head.fc, nn.Linear) or not head.global_pool:
            _refuse(name, head, "it has no classes")
        pixels = self.shape[1] * self.shape[2]
        weight = (head.fc.weight * self.worth / pixels).repeat_interleave(pixels, 1)
        # Counted from the end, the same axes are flattened with a batch before them and without.
        self._append(f"{name}.flatten", nir.Flatten(np.array(self.shape), -3, -1))
        bias = torch.zeros(len(weight)) if head.fc.bias is None else head.fc.bias
        self._append(f"{name}.fc", nir.Affine(_array(weight), _array(bias)))
        self._append("output", nir.Output(np.array([len(weight)])))

    def _append(self, name: str, node: nir.NIRNode) -> None:
        self.edges.append((self.last, name))
        self.nodes[name] = node
        self.last = name

    def _convolve(self, conv: nn.Conv2d, name: str, weight: Tensor, bias: Tensor) -> None:
        sides = self.shape[1:]
        node = nir.Conv2d(sides, _array(weight), conv.stride, conv.padding, conv.dilation, 1, _array(bias))
        self._append(name, node)
        self.shape, self.worth = tuple(int(side) for side in node.output_type["output"]), 1.0

    def _fire(self, activation: SpikingActivation, name: str) -> None:
        tau, threshold = _constants(activation, name)

        def everywhere(value: float) -> Any:
            return np.full(self.shape, value, np.float32)

        self._append(
            name,
            nir.LIF(
                tau=everywhere(tau * self.dt),
                r=everywhere(1),
                v_leak=everywhere(0),
                v_threshold=everywhere(threshold / self.worth),
            ),
        )
        self.worth = float(activation.scale)

    def _add_residual(self, block: Residual, name: str) -> None:
        before, worth = self.last, self.worth
        shortcut = dict(block.named_children()).get("shortcut")
        if shortcut is not None:
            self._add_projected(block, shortcut, name)
        else:
            self.add(block.body, f"{name}.body")
            node = self.nodes[self.last]
            node.weight, node.bias = node.weight / np.float32(worth), node.bias / np.float32(worth)
            self.worth = worth
        self.add(block.act, f"{name}.act")
        if shortcut is None:
            self.edges.append((before, f"{name}.act"))

    def _add_projected(self, block: Residual, shortcut: nn.Module, name: str) -> None:
        """Add a block's body and its shortcut, a 1×1 convolution, in one line of layers."""
        source, source_worth = self.shape[0], self.worth
        *inner, (last_name, last) = block.body.named_children()
        for (conv_name, conv), (act_name, act) in zip(inner[::2], inner[1::2], strict=True):
            assert isinstance(conv, nn.Conv2d), conv
            assert isinstance(act, SpikingActivation), act
            weight, bias = _parameters(conv, f"{name}.body.{conv_name}")
            tau, threshold = _constants(act, f"{name}.body.{act_name}")
            relays = _centred(torch.eye(source)[:, :, None, None] * (_SURE * tau * threshold), conv.kernel_size)
            if self.shape[0] == source:
                stacked = torch.cat((weight * self.worth, relays))
            else:
                stacked = _beside(weight * self.worth, relays)
            self._convolve(conv, f"{name}.body.{conv_name}", stacked, torch.cat((bias, torch.zeros(source))))
            self._fire(act, f"{name}.body.{act_name}")
        assert isinstance(last, nn.Conv2d), last
        weight, bias = _parameters(last, f"{name}.body.{last_name}")
        (projection,) = (part for part in shortcut.children() if isinstance(part, nn.Conv2d))
        direct, more = _parameters(projection, f"{name}.shortcut")
        direct = _centred(direct * source_worth, last.kernel_size)
        stacked = torch.cat((weight * self.worth, direct), 1)
        self._convolve(last, f"{name}.body.{last_name}", stacked, bias + more)


def _parameters(conv: nn.Conv2d, name: str) -> tuple[Tensor, Tensor]:
    if conv.groups != 1 or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        _refuse(name, conv, "grouped convolutions and other padding than zeros are left out")
    return conv.weight, torch.zeros(conv.out_channels) if conv.bias is None else conv.bias


def _constants(activation: SpikingActivation, name: str) -> tuple[float, float]:
    """Return a neuron's time constant in timesteps, and its threshold for currents as NIR's LIF takes them in."""
    neuron: Any = activation.neuron
    if type(neuron) not in (IFNeuron, LIFNeuron, ParametricLIFNeuron):
        _refuse(name, neuron, "valid: the neurons if, lif and plif")
    if neuron.v_reset is None or neuron.v_init:
        _refuse(
            name, neuron, "it resets by subtraction or starts above zero; NIR's neurons start at zero and go to a value"
        )
    if neuron.v_reset != 0:
        _refuse(name, neuron, "it resets to another value than 0, which norse and snntorch do not read")
    threshold = float(neuron.v_threshold * activation.scale)
    if type(neuron) is IFNeuron:
        return NO_LEAK, threshold / NO_LEAK
    tau: Any = neuron.tau if type(neuron) is LIFNeuron else 1 / neuron.w.sigmoid()
    return float(tau), threshold


def _centred(weight: Tensor, size: tuple[int, ...]) -> Tensor:
    """Put a 1×1 kernel in the middle of zeros."""
    rows, columns = size
    kernel = weight.new_zeros(*weight.shape[:2], rows, columns)
    kernel[:, :, rows // 2, columns // 2] = weight[:, :, 0, 0]
    return kernel


def _beside(first: Tensor, second: Tensor) -> Tensor:
    """Join two kernels that see channels of their own."""
    size = first.shape[2:]
    upper = torch.cat((first, first.new_zeros(len(first), second.shape[1], *size)), 1)
    lower = torch.cat((first.new_zeros(len(second), first.shape[1], *size), second), 1)
    return torch.cat((upper, lower))


def _array(values: Tensor) -> Any:
    return values.detach().float().contiguous().numpy()


def _refuse(name: str, module: nn.Module, reason: str) -> NoReturn:
    raise InputError(f"{name} ({type(module).__name__}) cannot be expressed in NIR: {reason}")
