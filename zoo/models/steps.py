"""Sequential steps of an image: what must happen one after the other, whatever runs side by side."""

from __future__ import annotations

from torch import nn

from zoo.contracts.classifier import ImageClassifier, branch_key
from zoo.contracts.decoder import Decoder
from zoo.contracts.neuron import Neuron
from zoo.families.headed import HeadedClassifier

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
_SIDEWAYS = ("shortcut", "downsample")
"""Names of the layers beside a residual block's body, which run at the same time."""


def count_steps(network: ImageClassifier) -> int | None:
    """Count the layers before the classifier, each a step, with the timesteps that they wait for.

    Neurons that wait take all T timesteps a layer: layers · T. Others stream, each layer a step behind the one before
    it: layers + T − 1. A network that decodes d times waits for the last timestep there: layers + d · (T − 1). Returns
    None for a network whose layers are not in a row, such as timm's.
    """
    if not isinstance(network, HeadedClassifier):
        return None
    names = [name for name in layers_before_classifier(network) if not runs_beside(name)]
    spiking = [name for name in names if network.branch_of(name) == "spiking"]
    alone = [name for name in names if branch_key(name, "spiking") != name]
    layers = len(names) - (len(alone) if spiking else 0)  # both branches of a hybrid run at the same time
    timesteps, modules = network.timesteps, list(network.modules())
    if any(isinstance(module, Neuron) and module.waits for module in modules):
        return layers * timesteps
    decoders = sum(isinstance(module, Decoder) for module in modules)
    return layers + max(1, decoders) * (timesteps - 1)


def layers_before_classifier(network: ImageClassifier) -> list[str]:
    """List the names of convolutions and linear layers, without the classifier's."""
    layers = [name for name, module in network.named_modules() if isinstance(module, LAYERS)]
    return [name for name in layers if name not in network.classifier_names]


def runs_beside(name: str) -> bool:
    """Return whether a layer lies beside a residual block's body."""
    return any(part in _SIDEWAYS for part in name.split("."))
