"""The weights of this distribution load by their names, and their figures are those of the models."""

from __future__ import annotations

from zoo_kit import WeightTests


class TestWeights(WeightTests):
    name = "i2ecifar10"
