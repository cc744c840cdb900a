"""A spiking block as spikingjelly's exporter to NIR takes it: traced, its layers spikingjelly's own, its sums as nodes.

The exporter knows layers by their exact type. Between them it sees additions alone, and of an addition whose result
leaves the graph it makes two outputs; so a node is put behind every addition, which passes on what it gets. Whatever
else there is, is refused by name: the exporter would leave some of it out without a word.
"""

from __future__ import annotations

import operator
from typing import Any, NoReturn, final

import torch
from nir import NIRGraph
from spikingjelly.activation_based import base, layer, neuron
from spikingjelly.activation_based.nir_exchange import export_to_nir
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from zoo.blocks import IFNeuron, LIFNeuron, ParametricLIFNeuron, SpikingAvgPool2d, SpikingConv2d
from zoo.contracts import Neuron
from zoo.errors import InputError

_LAYERS = (
    *(nn.Linear, layer.Linear, nn.Conv1d, layer.Conv1d, nn.Conv2d, layer.Conv2d),
    *(nn.AvgPool2d, layer.AvgPool2d, nn.Flatten, layer.Flatten),
)
_NEURONS = (neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode, neuron.CUBALIFNode)
_SILENT = (nn.Identity, nn.Dropout, layer.Dropout)
"""Layers that pass on their input in eval mode."""
_ADDITIONS = (operator.add, operator.iadd, torch.add)
_INNER = "block"


@final
class _Called(nn.Module):
    """Calls a block with its input alone, so that what else its forward takes has its defaults."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.add_module(_INNER, block)

    def forward(self, x: Tensor) -> Any:
        return self.get_submodule(_INNER)(x)


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, (Neuron, base.MemoryModule)) or not any(module.children())


@final
class _Tracer(fx.Tracer):
    """Looks into everything that has modules inside, but for neurons with their surrogates."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return _is_layer(m)


def block_graph(block: nn.Module, spikes: Tensor, name: str, dt: float) -> NIRGraph:
    """Return the NIR graph of a block.

    Args:
        block: in eval mode; its neurons are replaced.
        spikes: (T, N, …), an input of it; the graph holds the shapes that follow.
        name: of the block, for errors.
        dt: seconds that a timestep lasts, of which NIR has no notion.

    Raises:
        InputError: names what cannot be expressed.
    """
    if _is_layer(block):
        block = nn.Sequential(block)
    traced = _present(_trace(block, name), block, name)
    try:
        return export_to_nir(traced, spikes, dt=dt)
    except (NotImplementedError, ValueError) as error:
        _blame_a_layer(traced, spikes, name)
        raise InputError(f"{name} cannot be expressed in NIR: {error}") from error


def _trace(block: nn.Module, name: str) -> fx.Graph:
    try:
        return _Tracer().trace(_Called(block))
    except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError) as error:
        _refuse(name, block, f"its forward does more than call layers one after another ({error})")


def _present(graph: fx.Graph, block: nn.Module, name: str) -> fx.GraphModule:
    """Rebuild the graph of spikingjelly's own layers, with a node behind every addition."""
    for node in list(graph.nodes):
        if node.op == "call_module":
            node.target = str(node.target).partition(".")[2]
            _present_layer(graph, node, block, f"{name}.{node.target}")
        elif node.op == "call_function" and node.target in _ADDITIONS and _adds_two_signals(node):
            _name_sum(graph, node, block)
        elif node.op != "placeholder" and not (node.op == "output" and isinstance(node.args[0], fx.Node)):
            _refuse(_owner(node, name), None, f"it computes {_told(node)}, and NIR has sums of two signals alone")
    return fx.GraphModule(block, graph)


def _present_layer(graph: fx.Graph, node: fx.Node, block: nn.Module, name: str) -> None:
    target = str(node.target)
    module = block.get_submodule(target)
    if type(module) in _SILENT:
        node.replace_all_uses_with(node.all_input_nodes[0])
        graph.erase_node(node)
    elif type(module) in (IFNeuron, LIFNeuron, ParametricLIFNeuron):
        block.set_submodule(target, _spikingjelly_node(module))
    elif isinstance(module, SpikingAvgPool2d):
        window = (module.kernel_size, module.stride, module.padding)
        block.set_submodule(target, layer.AvgPool2d(*window, step_mode=module.step_mode))
    elif isinstance(module, SpikingConv2d):
        block.set_submodule(target, _spikingjelly_conv(module))
    elif type(module) not in (*_LAYERS, *_NEURONS):
        _refuse(name, module, f"valid: {', '.join(kind.__name__ for kind in (*_LAYERS[::2], *_NEURONS))}")


def _spikingjelly_conv(conv: SpikingConv2d) -> nn.Module:
    sizes = (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, conv.dilation)
    plain = layer.Conv2d(*sizes, conv.groups, conv.bias is not None, conv.padding_mode, conv.step_mode)
    plain.weight, plain.bias = conv.weight, conv.bias
    return plain


def _spikingjelly_node(node: Any) -> nn.Module:
    shared = {"v_threshold": node.v_threshold, "v_reset": node.v_reset, "step_mode": "m"}
    if type(node) is IFNeuron:
        return neuron.IFNode(**shared)
    if type(node) is LIFNeuron:
        return neuron.LIFNode(tau=node.tau, **shared)
    plif = neuron.ParametricLIFNode(**shared)
    plif.w = node.w
    return plif


def _adds_two_signals(node: fx.Node) -> bool:
    first, second = node.args if len(node.args) == 2 else (None, None)
    return isinstance(first, fx.Node) and isinstance(second, fx.Node) and first is not second and not node.kwargs


def _name_sum(graph: fx.Graph, node: fx.Node, block: nn.Module) -> None:
    node.target = operator.add
    name = f"sum_of_{node.name}"
    block.add_module(name, layer.Flatten(-1, -1, step_mode="m"))  # of a single axis: it changes nothing
    with graph.inserting_after(node):
        behind = graph.call_module(name, (node,))
    node.replace_all_uses_with(behind, lambda user: user is not behind)


def _owner(node: fx.Node, name: str) -> str:
    """Name the module whose forward a node comes from."""
    inner = [str(path).partition(".")[2] for path in node.meta.get("nn_module_stack", {})]
    return f"{name}.{inner[-1]}" if inner and inner[-1] else name


def _told(node: fx.Node) -> str:
    if node.op == "output":
        return "several outputs"
    if node.op == "get_attr":
        return f"with {str(node.target).partition('.')[2]!r}, a tensor of its own"
    return repr(node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target)))


def _blame_a_layer(traced: fx.GraphModule, spikes: Tensor, name: str) -> None:
    """Raise `InputError` for the first layer that cannot be exported even by itself."""
    with torch.no_grad():
        ShapeProp(traced).propagate(spikes)
    for node in traced.graph.nodes:
        if node.op == "call_module":
            module = traced.get_submodule(str(node.target))
            x = torch.zeros(node.all_input_nodes[0].meta["tensor_meta"].shape)
            try:
                export_to_nir(nn.Sequential(module), x)
            except (NotImplementedError, ValueError) as error:
                _refuse(f"{name}.{node.target}", module, str(error))


def _refuse(name: str, module: nn.Module | None, reason: str) -> NoReturn:
    kind = f" ({type(module).__name__})" if module is not None else ""
    raise InputError(f"{name}{kind} cannot be expressed in NIR: {reason}")
