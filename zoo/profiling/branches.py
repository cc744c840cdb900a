"""The two branches of a network; what lies in neither counts as analog."""

from __future__ import annotations

from typing import Literal

from zoo.contracts.classifier import ImageClassifier

Branch = Literal["analog", "spiking"]


def branch_of(name: str, model: ImageClassifier) -> Branch:
    """The branch in which a module or parameter of that name lies."""
    return "spiking" if any(f"{name}.".startswith(f"{prefix}.") for prefix in model.spiking_module_names) else "analog"
