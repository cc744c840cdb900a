"""Thresholds folded into the weights behind them: every spike is 1 and every quantised activation a whole number.

A spike of a `SpikingActivation` is worth θ, and level k of a `QuantisedReLU` with L levels is worth k·θ/L: constants
of the layer. On a chip it is part of the weights of the layers that take it in; here it is folded into them, so that
operations can be counted. On the side before, θ is the threshold that the potential is compared with.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from zoo.backbones.resnet import Residual
from zoo.cpu.private import parts_of
from zoo.families.paired import PairedBlock
from zoo.families.thresholds import ScaledActivation


@final
class ScaledIdentity(nn.Module):
    """An identity shortcut of whole numbers: each is added as what it is worth, a constant."""

    def __init__(self, worth: Tensor) -> None:
        super().__init__()
        self.register_buffer("worth", worth, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        worth: Any = self.worth
        return x * worth


def has_thresholds(network: nn.Module) -> bool:
    """Return whether any activation has a learned threshold."""
    return any(isinstance(module, ScaledActivation) for module in network.modules())


@torch.no_grad()
def fold_thresholds(network: nn.Module) -> None:
    """Fold every threshold into the layers behind it, in place.

    Logits stay the same up to rounding. Feature maps do not: they are in spikes or levels then.
    """
    _fold(network, torch.ones(()))


def _fold(module: nn.Module, worth: Tensor) -> Tensor:
    """Fold the worth of a module's input into it, and return the worth of its output."""
    if isinstance(module, ScaledActivation):
        unit = module.unit.detach()
        module.register_forward_hook(lambda _, args, y: (y / unit).round())
        return unit
    if isinstance(module, nn.Conv2d | nn.Linear):
        module.weight.mul_(worth)
        return torch.ones(())
    if isinstance(module, Residual):
        _fold(module.body, worth)
        if "shortcut" in parts_of(module):
            _fold(module.shortcut, worth)
        else:
            module.add_module("shortcut", ScaledIdentity(worth))
        return _fold(module.act, torch.ones(()))
    if isinstance(module, PairedBlock) and module.digits:  # the analog branch beside them has no thresholds
        behind = ScaledIdentity(_fold(module.get_submodule("spiking"), worth))
        module.set_submodule("decoder", nn.Sequential(module.get_submodule("decoder"), behind))
        return torch.ones(())
    for child in module.children():
        worth = _fold(child, worth)
    return worth
