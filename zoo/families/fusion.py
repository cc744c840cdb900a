"""Batch norms folded into the convolutions before them, and weights rounded once, for inference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, cast, final

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from zoo.backbones.layers import MANY_CHANNELS, Conv2d, GuardedConv2d, GuardedSpikingConv2d
from zoo.contracts.precision import at_least_float32
from zoo.errors import InputError

# Exactly these: a subclass may do more than convolve with its weight, or than scale and shift.
_CONVOLUTIONS = (nn.Conv2d, GuardedConv2d, Conv2d, layer.Conv2d, GuardedSpikingConv2d)
_LINEAR = (nn.Linear, layer.Linear)
_NORMS = (nn.BatchNorm2d, layer.BatchNorm2d)


@final
class FoldedNorm(nn.Identity):
    """Stands where a batch norm stood, and passes on what it gets: any shape → the same."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        *_, errors = rest
        if any(key.startswith(prefix) for key in state_dict):
            errors.append(
                f"{prefix[:-1]} is part of a convolution now, for the network is fused; load these weights into a new "
                "network, and fuse that."
            )


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


def fold_norms(network: nn.Module, pairs: Iterable[tuple[str, str]]) -> None:
    """Fold every batch norm into its convolution, in place; a `FoldedNorm` takes its place.

    The convolution stays the module that it was, with a new weight (out, in, h, w) and a bias (out,).

    Args:
        network: in eval mode.
        pairs: names of two modules, the second of which sees what the first returns and nobody else does. Those
            that are not a plain convolution and a plain batch norm, or that are used in several places, are left.

    Raises:
        InputError: a module is in training mode, or a batch norm keeps no statistics; nothing is changed then.
    """
    uses = Counter(id(module) for _, module in network.named_modules(remove_duplicate=False))
    modules = dict(network.named_modules())
    folding = [
        (conv, norm)
        for conv, norm in dict.fromkeys(pairs)  # one pair may be found in two ways
        if _is_plain(modules.get(conv), modules.get(norm)) and uses[id(modules[conv])] == uses[id(modules[norm])] == 1
    ]
    _check_mode(network, "the network")
    for conv, norm in folding:
        _check_mode(modules[conv], conv)
        _check_mode(modules[norm], norm)
        if modules[norm].running_mean is None:
            raise InputError(f"{norm} keeps no running statistics, so it works on the batch's, which cannot be folded")
    for conv, norm in folding:
        _fold(cast(nn.Conv2d, modules[conv]), cast(nn.BatchNorm2d, modules[norm]))
        block, _, own = norm.rpartition(".")
        setattr(network.get_submodule(block), own, FoldedNorm().eval())


def fuse_network(network: nn.Module, pairs: Iterable[tuple[str, str]], dtype: torch.dtype | None) -> None:
    """Fold the norms of `pairs`, and round convolutions and linear layers, in place; see `ImageClassifier.fuse`.

    Raises:
        InputError: as `fold_norms`, or for a type that autocast does not cast to; nothing is changed then.
    """
    if dtype not in (None, torch.bfloat16, torch.float16):
        raise InputError(f"fuse() rounds to torch.bfloat16 or torch.float16, or to nothing with None, not to {dtype}")
    fold_norms(network, pairs)
    if dtype is not None:
        _round_layers(network, dtype)


def _round_layers(network: nn.Module, dtype: torch.dtype) -> None:
    for module in network.modules():
        if type(module) in (*_CONVOLUTIONS, *_LINEAR):
            module.to(dtype)  # what autocast would do to them on every call
            module.register_forward_pre_hook(_cast_input)


def _cast_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The input of a rounded layer in the type of its weight, as autocast gives it."""
    return (inputs[0].to(module.weight.dtype), *inputs[1:])


def _is_plain(conv: nn.Module | None, norm: nn.Module | None) -> bool:
    # A pruned or reparametrised convolution computes its weight anew on every call: it is not a parameter.
    plain = type(conv) in _CONVOLUTIONS and type(norm) in _NORMS
    return plain and isinstance(cast(nn.Conv2d, conv).weight, nn.Parameter)


def _check_mode(module: nn.Module, name: str) -> None:
    if module.training:
        raise InputError(f"{name} is in training mode, and only what eval mode does can be fused; call eval() first")


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
