"""Every weight of this distribution loads by its name, without a network, and its figures are those of the model."""

from __future__ import annotations

from zoo_kit import WeightTests


class TestWeights(WeightTests):
    name = "cifar10resnet50phase"
