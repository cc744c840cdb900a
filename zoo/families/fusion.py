"""Batch norms folded into the convolutions before them, and weights rounded once, for inference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, cast

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from zoo.backbones.layers import FusableSequential
from zoo.contracts.neuron import Neuron
from zoo.cpu.conv import CONVOLUTIONS, MANY_CHANNELS, is_centred
from zoo.cpu.functions import at_least_float32
from zoo.cpu.packed import PackedWeight
from zoo.errors import InputError

# Exactly these: a subclass may do more than convolve with its weight, or than scale and shift.
_CONVOLUTIONS = (nn.Conv2d, layer.Conv2d, *CONVOLUTIONS)
_LINEAR = (nn.Linear, layer.Linear)
_NORMS = (nn.BatchNorm2d, layer.BatchNorm2d)


def adjacent_layers(network: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of every two modules of which a plain `nn.Sequential` calls the second on what the first returns."""
    for name, module in network.named_modules():
        if type(module).forward is nn.Sequential.forward:
            prefix = f"{name}." if name else ""
            yield from pairwise(f"{prefix}{child}" for child, _ in module.named_children())


def numbered_layers(network: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of `conv1` and `bn1`, `conv2` and `bn2`, … of the same block, as torchvision names them."""
    for name, _ in network.named_modules():
        block, _, own = name.rpartition(".")
        if own.startswith("conv"):
            yield name, f"{block}.bn{own.removeprefix('conv')}"


def fuse_network(network: nn.Module, pairs: Iterable[tuple[str, str]], dtype: torch.dtype | None = None) -> bool:
    """Fold batch norms, and round convolutions and linear layers, in place; see `ImageClassifier.fuse`.

    A convolution stays the module that it was, with a new weight (out, in, h, w) and a bias (out,); an `nn.Identity`
    takes the place of its norm, or nothing in a `FusableSequential`. A neuron behind it may write its spikes over its
    currents.

    Args:
        network: in eval mode.
        pairs: names of two modules, the second of which alone sees what the first returns. Those that are not a plain
            convolution and a plain batch norm, or that are used in several places, are left.
        dtype: torch.bfloat16, torch.float16, or None to round nothing.

    Returns:
        True if a batch norm was folded.

    Raises:
        InputError: another dtype, a module in training mode, or a batch norm without statistics; nothing is changed.
    """
    if dtype not in (None, torch.bfloat16, torch.float16):
        raise InputError(f"fuse() rounds to torch.bfloat16 or torch.float16, or to nothing with None, not to {dtype}")
    modules = dict(network.named_modules())
    uses = Counter(id(module) for _, module in network.named_modules(remove_duplicate=False))
    once = [pair for pair in pairs if all(uses[id(modules.get(name))] == 1 for name in pair)]
    folded = dict(pair for pair in once if _is_plain(*(modules[name] for name in pair)))
    _check(modules, folded.values())
    for conv, norm in folded.items():
        _fold(cast(nn.Conv2d, modules[conv]), cast(nn.BatchNorm2d, modules[norm]))
        _take_out(norm, modules)
    for norm, neuron in once:
        if norm in folded.values() and isinstance(modules[neuron], Neuron):
            cast(Neuron, modules[neuron]).in_place = True
    if dtype is not None:
        _round(network, dtype)
    return bool(folded)


def _check(modules: Mapping[str, nn.Module], norms: Iterable[str]) -> None:
    """Raise `InputError` unless all are in eval mode and the norms have statistics."""
    for name, module in modules.items():
        if module.training:
            raise InputError(f"{name or 'the network'} is in training mode, which cannot be fused; call eval() first")
    for norm in norms:
        if modules[norm].running_mean is None:
            raise InputError(f"{norm} keeps no running statistics, so it works on the batch's, which cannot be folded")


def _take_out(norm: str, modules: Mapping[str, nn.Module]) -> None:
    parent, _, name = norm.rpartition(".")
    if isinstance(modules[parent], FusableSequential):
        delattr(modules[parent], name)  # the layers behind it keep their names
    else:
        setattr(modules[parent], name, nn.Identity().eval())


def _round(network: nn.Module, dtype: torch.dtype) -> None:
    """Round what autocast would round on every call."""
    for module in network.modules():
        if type(module) in (*_CONVOLUTIONS, *_LINEAR):
            module.to(dtype)
            module.register_forward_pre_hook(_cast_input)


def _cast_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The input of a rounded layer in the type of its weight, as autocast gives it."""
    return (inputs[0].to(module.weight.dtype), *inputs[1:])


def _is_plain(conv: nn.Module, norm: nn.Module) -> bool:
    # A pruned or reparametrised convolution computes its weight on every call: it is not a parameter.
    plain = type(conv) in _CONVOLUTIONS and type(norm) in _NORMS
    return plain and isinstance(cast(nn.Conv2d, conv).weight, nn.Parameter)


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    mean, variance = (at_least_float32(cast(Tensor, statistic)) for statistic in (norm.running_mean, norm.running_var))
    weight, bias = fuse_conv_bn_weights(conv.weight, conv.bias, mean, variance, norm.eps, norm.weight, norm.bias)
    # In this order a convolution takes its weight as it is; in torch's default one it lays a copy out on every call.
    # But the weight's order decides for the map too, and of many channels some maps are better off in torch's.
    wide = conv.in_channels >= MANY_CHANNELS
    order = torch.contiguous_format if wide else torch.channels_last
    conv.weight = nn.Parameter(weight.detach().contiguous(memory_format=order), weight.requires_grad)
    conv.bias = bias.requires_grad_(weight.requires_grad)
    if type(conv) in CONVOLUTIONS and is_centred(conv):
        cast(Any, conv).packed = PackedWeight()
