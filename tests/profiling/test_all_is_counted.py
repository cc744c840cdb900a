"""No operation of networks that many people use is left without a price; CI runs these once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from zoo.profiling import profile

pytestmark = pytest.mark.slow

CONVOLUTIONAL = (
    "resnet18 resnet34 resnet50 resnet101 mobilenetv3_small_100 mobilenetv3_large_100 efficientnet_b0 "
    "tf_efficientnetv2_s convnext_tiny densenet121 wide_resnet50_2 regnety_016"
)
TRANSFORMERS = (
    "vit_tiny_patch16_224 vit_small_patch16_224 vit_base_patch16_224 vit_base_patch16_clip_224 "
    "vit_base_patch16_siglip_224 vit_small_patch14_dinov2 vit_small_patch16_dinov3 deit_small_patch16_224 "
    "eva02_tiny_patch14_224 swin_tiny_patch4_window7_224 beit_base_patch16_224 xcit_nano_12_p16_224"
)
"""timm's that the Hub sends most often, one of each kind."""


@pytest.mark.parametrize("name", [*CONVOLUTIONAL.split(), *TRANSFORMERS.split()])
def test_every_operation_of_timms_networks_has_a_price(name: str) -> None:
    size = {"img_size": 224} if "dinov2" in name else {}
    network = timm.create_model(name, **size)
    side = 224 if size else network.default_cfg["input_size"][1]
    found = profile(network, images=torch.rand(1, 3, side, side))
    assert found.activity is not None
    assert found.activity.uncounted == {}


class Looped(nn.Module):
    """Layers around a spiking cell that loop over T, as tutorials write it; a recurrent cell takes its spikes in."""

    def __init__(self, before: nn.Module, cell: nn.Module, behind: nn.Module, recurrent: bool = False) -> None:
        super().__init__()
        self.before, self.cell, self.behind, self.recurrent = before, cell, behind, recurrent

    def forward(self, x: Tensor) -> Tensor:
        state: tuple[Any, ...] = ()
        outputs = []
        for _ in range(3):
            returned = self.cell(self.before(x), *state)
            state = returned if self.recurrent else returned[1:]
            outputs.append(self.behind(returned[0].flatten(1)))
        return torch.stack(outputs)


def dense(cell: nn.Module, recurrent: bool = False) -> nn.Module:
    return Looped(nn.Sequential(nn.Flatten(), nn.Linear(64, 12)), cell, nn.Linear(12, 10), recurrent)


def snntorchs() -> dict[str, nn.Module]:
    snn = pytest.importorskip("snntorch")
    hidden = {"beta": 0.5, "init_hidden": True}
    pooled = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), snn.Leaky(**hidden), nn.Flatten(), nn.Linear(36, 10))
    return {
        "leaky": dense(snn.Leaky(beta=0.9)),
        "synaptic": dense(snn.Synaptic(alpha=0.9, beta=0.8)),
        "alpha": dense(snn.Alpha(alpha=0.9, beta=0.8)),
        "lapicque": dense(snn.Lapicque(beta=0.8)),
        "recurrent": dense(snn.RLeaky(beta=0.8, linear_features=12), recurrent=True),
        "recurrent synaptic": dense(snn.RSynaptic(alpha=0.9, beta=0.8, linear_features=12), recurrent=True),
        "memory": dense(snn.SLSTM(12, 12)),
        "memory of maps": Looped(nn.Identity(), snn.SConv2dLSTM(1, 4, 3, max_pool=2), nn.Linear(64, 10)),
        "convolutional": nn.Sequential(pooled, snn.Leaky(**hidden, output=True)),
    }


def norses() -> dict[str, nn.Module]:
    norse = pytest.importorskip("norse.torch")
    maps = nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.MaxPool2d(2))
    return {
        "leaky": dense(norse.LIFCell()),
        "recurrent": dense(norse.LIFRecurrentCell(12, 12)),
        "long memory": dense(norse.LSNNRecurrentCell(12, 12)),
        "adaptive": dense(norse.LIFAdExCell()),
        "convolutional": Looped(maps, norse.LIFCell(), nn.Linear(16, 10)),
        "in sequence": norse.SequentialState(norse.PoissonEncoder(3), norse.Lift(maps[0]), norse.LIF()),
    }


@pytest.mark.parametrize("networks", [snntorchs, norses])
def test_every_operation_of_the_tutorials_has_a_price(networks: Callable[[], dict[str, nn.Module]]) -> None:
    for name, network in networks().items():
        found = profile(network, images=torch.rand(2, 1, 8, 8), reset=reset_hidden)
        assert found.activity is not None
        assert found.activity.uncounted == {}, name


def reset_hidden(network: nn.Module) -> None:
    """Reset snnTorch's cells, as its `utils.reset` does; norse's keep nothing."""
    for module in network.modules():
        if hasattr(module, "reset_mem"):
            module.reset_mem()
