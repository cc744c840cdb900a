"""Published networks with values that no training gave them: random weights, and random statistics of batch norms."""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn


def random_resnet(name: str, *, num_classes: int = 1000, in_chans: int = 3, seed: int = 0) -> nn.Module:
    """timm's network in eval mode; every batch norm has statistics, a scale and a shift of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = timm.create_model(name, num_classes=num_classes, in_chans=in_chans, zero_init_last=False)
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.normal_(norm.bias, std=0.2)
                norm.running_mean, norm.running_var = (
                    torch.randn_like(norm.bias) * 0.2,
                    torch.rand_like(norm.bias) + 0.5,
                )
    return network.eval()


def copied(network: nn.Module) -> dict[str, Tensor]:
    """Its state, to be changed."""
    return {key: value.clone() for key, value in network.state_dict().items()}
