"""The ResNets of timm and torchvision under our names and keys; networks that look like them are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, final

from zoo_convert import RESNET_FORMS, Layout, choose_layout, renamed, residual_key, residual_shapes

from zoo.contracts import Converted, Converter
from zoo.errors import WeightError, shorten

if TYPE_CHECKING:
    from torch import Tensor

LOOK_ALIKES: Mapping[str, str] = MappingProxyType(
    {
        "resnetaa50": "averages neighbouring pixels before it strides (it is timm_resnetaa50 in the zoo)",
        "resnetblur18": "blurs before it strides (it is timm_resnetblur18 in the zoo)",
        "resnetblur50": "blurs before it strides (it is timm_resnetblur50 in the zoo)",
    }
)
"""Networks of timm with the keys and shapes of one above and another forward: name → difference."""

_SPIKING = r"(sew|ms|snn|spik[a-z]*)[-_]?resnet-?\d+"


def refuse_look_alike(called: str) -> None:
    """Raise `WeightError` for the name of a network or file whose tensors alone would convert wrongly.

    Example:
        >>> refuse_look_alike("resnetblur50-84f4748f")
        Traceback (most recent call last):
        zoo.errors.WeightError: 'resnetblur50-84f4748f' names a network that blurs before it strides, ...
    """
    spikes = "spikes (`zoo convert sew` or `msresnet`, of zoo-spikingjelly, reads it)"
    for name, difference in {**LOOK_ALIKES, _SPIKING: spikes}.items():
        if re.search(rf"(?<![a-z0-9]){name}(?![a-z0-9])", called.lower()):
            raise WeightError(
                f"{shorten(called)} names a network that {difference}, and its tensors do not show it; "
                f"the zoo converts {', '.join(RESNET_FORMS)}. If it is one of these, rename the file"
            )


def our_key(key: str) -> str:
    """Translate torchvision's key; in our blocks a convolution, its norm and its ReLU take three places.

    Example:
        >>> our_key("layer2.0.bn2.running_mean")
        'stages.2.0.analog.body.4.running_mean'
    """
    return residual_key(key, "stages.0.0.analog.", ".analog", first_stage=1, first_layer=0)


class ResNetConverter(Converter):
    """Converts a ResNet to the zoo's network without spikes: the form by shapes, the preparation of images by weights.

    The option `weights` says which of the publisher's weights a file holds, such as `resnet18.a1_in1k` of timm's.
    """

    api_version = 1
    options = frozenset({"weights"})
    publisher: ClassVar[str]

    def __init__(self, weights: str = "") -> None:
        self.weights = weights

    @final
    def convert(self, state: Mapping[str, Tensor]) -> Converted:
        layouts = [Layout(name, residual_shapes(form)) for name, form in RESNET_FORMS.items()]
        layout = choose_layout(state, layouts, self.publisher)
        ours = renamed(state, {key: our_key(key) for key in layout.shapes})
        classes, in_chans = len(state["fc.weight"]), state["conv1.weight"].shape[1]
        return Converted(RESNET_FORMS[layout.name].spec_name, classes, in_chans, ours)

    @final
    def check_name(self, called: str) -> None:
        refuse_look_alike(called)

    def assumed(self, weights: str) -> str:
        """Return the note for a file whose weights were not named."""
        return (
            f"The file does not say how images were prepared: as {self.publisher}'s {weights} states it. "
            "Name other weights by its option weights."
        )


def published_name(converted: Converted) -> str:
    """Return the publisher's name of a converted network: `resnet50`."""
    return next(name for name, form in RESNET_FORMS.items() if form.spec_name == converted.spec_name)
