"""Thresholds folded into weights: the same logits, and inputs of layers that are whole numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.families.test_encoded_once import BACKBONES, pair
from zoo.contracts import ImageClassifier
from zoo.families.unit_spikes import fold_thresholds, has_thresholds


def inputs_of_layers(network: ImageClassifier, images: Tensor) -> dict[str, Tensor]:
    """Run a network; return what each convolution and linear layer took in."""
    caught: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda layer, args, y, name=name: caught.update({name: args[0]}))
    with torch.no_grad():
        network(images)
    return caught


@pytest.mark.parametrize("size", BACKBONES)
def test_folded_networks_say_the_same_and_take_in_whole_numbers(size: str) -> None:
    levels = 5
    images = torch.rand(3, 3, 32, 32)
    for network in pair(size, levels):
        expected = network(images).detach()
        assert has_thresholds(network)
        fold_thresholds(network)
        torch.testing.assert_close(network(images), expected, atol=1e-3, rtol=1e-3)
        caught = inputs_of_layers(network, images)
        whole = {name for name, x in caught.items() if torch.equal(x, x.round())}
        stem, *behind = [name for name in caught if name.startswith("stages")]
        assert stem not in whole
        if size.startswith("vgg"):
            continue  # its pooling averages spikes
        assert set(behind) <= whole
        highest = 1 if network.timesteps > 1 else levels
        assert max(int(caught[name].max()) for name in whole) == highest


def test_networks_without_thresholds_have_none() -> None:
    assert not has_thresholds(zoo.create_model("has8_resnet_b1_m1_d1_ste_bpd", num_classes=2))
