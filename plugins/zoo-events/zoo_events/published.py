"""I2E's published MS-ResNets → models of this plugin: `zoo convert i2e cifar10_transfer.pth.tar --out DIR`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, final

from zoo_convert import RESNET_FORMS, Layout, Shape, choose_layout, renamed, residual_key, residual_shapes

from zoo.contracts import CheckpointFacts, Converted, Converter

if TYPE_CHECKING:
    from torch import Tensor

MOVEMENTS_KEY = "i2e.weight"
"""The authors' network makes its events by a convolution, whose weight it sets on every call."""
_IMAGENET_CLASSES = 1000
_EVENTS = "It takes eight frames of events, ON before OFF, and the tensors do not say of what."


@final
class I2EConverter(Converter):
    """MS-ResNet18 and 34 in the authors' layout, that of MSNet.py and MSNet_I2E.py of github.com/Ruichen0424/I2E."""

    api_version = 1

    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        """The size is told from keys; the weight that makes events is left out.

        Raises:
            WeightError: it is neither; the message names the first wrong key.
        """
        plain = {f"ms{name}": residual_shapes(RESNET_FORMS[name]) for name in ("resnet18", "resnet34")}
        layouts = [Layout(name, _their_shapes(shapes)) for name, shapes in plain.items()]
        name = choose_layout(state, layouts, "I2E").name
        ours = renamed(state, {_their_key(key): _our_key(key) for key in plain[name]})
        return Converted(f"i2e_{name}", len(state["fc.weight"]), 2, ours)

    def describe(self, converted: Converted, name: str) -> CheckpointFacts:
        """Return the size of the authors' data with as many classes, and how to make events for it."""
        of_imagenet = converted.num_classes == _IMAGENET_CLASSES
        size, ratio, like = (224, 0.12, "ImageNet") if of_imagenet else (128, 0.07, "CIFAR")
        note = f"{_EVENTS} Of images like {like}'s: `--data i2e:{ratio}:{size}:DATA`."
        return CheckpointFacts(image_size=size, note=note)


def _their_shapes(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    theirs = {_their_key(key): shape for key, shape in shapes.items()}
    return theirs | {"conv1.weight": (64, 2, 7, 7), MOVEMENTS_KEY: (8, 1, 3, 3)}


def _their_key(key: str) -> str:
    """Translate torchvision's key: in a shortcut of theirs a neuron stands first.

    Example:
        >>> _their_key("layer2.0.downsample.0.weight")
        'layer2.0.downsample.1.weight'
    """
    return re.sub(r"(?<=\.downsample\.)\d", lambda place: str(int(place[0]) + 1), key)


def _our_key(key: str) -> str:
    """Translate torchvision's key; in our blocks a neuron, a convolution and its norm take three places.

    Example:
        >>> _our_key("layer2.0.bn2.running_mean")
        'stages.1.0.body.5.running_mean'
    """
    return residual_key(key, "stem.", "", first_stage=0, first_layer=1)
