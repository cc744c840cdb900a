"""Convert ResNet-18 to ResNet-152 of timm and torchvision, which share keys and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, final

from zoo.contracts.converter import Converted, Converter
from zoo.converters.layout import Layout, Shape, choose_layout, norm_shapes, renamed
from zoo.errors import WeightError, shorten

if TYPE_CHECKING:
    from torch import Tensor

STEM_WIDTH = 64


@final
@dataclass(frozen=True)
class Form:
    """The form of a ResNet.

    Attributes:
        blocks: of each of its four stages.
        bottleneck: a block has three convolutions, and is four times as wide at its end.
        backbone: its name in the zoo.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool
    backbone: str

    @property
    def spec_name(self) -> str:
        """Name of the network in the zoo."""
        return f"ann_{self.backbone}_b64_m2_d4"


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "resnet18": Form((2, 2, 2, 2), False, "resnet"),
        "resnet34": Form((3, 4, 6, 3), False, "resnet34"),
        "resnet50": Form((3, 4, 6, 3), True, "resnet50"),
        "resnet101": Form((3, 4, 23, 3), True, "resnet101"),
        "resnet152": Form((3, 8, 36, 3), True, "resnet152"),
    }
)
"""By their names at timm and torchvision."""


LOOK_ALIKES: Mapping[str, str] = MappingProxyType(
    {
        "resnetaa50": "averages neighbouring pixels before it strides",
        "resnetblur18": "blurs before it strides",
        "resnetblur50": "blurs before it strides",
    }
)
"""Networks of timm with the keys and shapes of one above and another forward: name → difference."""


_SPIKING = re.compile(r"(?<![a-z0-9])(?:sew|ms|snn|spik[a-z]*)[-_]?(resnet-?\d+)")


def refuse_look_alike(called: str) -> None:
    """Raise `WeightError` for the name of a network or file whose tensors alone would convert wrongly.

    Example:
        >>> refuse_look_alike("resnetblur50-84f4748f")
        Traceback (most recent call last):
        zoo.errors.WeightError: resnetblur50 blurs before it strides, and its tensors do not show it; ...
    """
    if spiking := _SPIKING.search(called.lower()):
        raise WeightError(
            f"{shorten(called)} names a spiking {spiking[1]}, whose tensors can be those of one without spikes; "
            "`zoo convert sew`, of zoo-spikingjelly, reads it. If it was trained without spikes, rename the file"
        )
    for name, difference in LOOK_ALIKES.items():
        if re.search(rf"(?<![a-z0-9]){name}(?![a-z0-9])", called.lower()):
            raise WeightError(
                f"{name} {difference}, and its tensors do not show it; the zoo has that network as timm_{name}, and "
                f"converts {', '.join(FORMS)}"
            )


def residual_shapes(form: Form) -> dict[str, Shape]:
    """Return key → shape in torchvision's order; image channels and classes are any."""
    shapes: dict[str, Shape] = {"conv1.weight": (STEM_WIDTH, None, 7, 7)} | norm_shapes("bn1", STEM_WIDTH)
    width_in = STEM_WIDTH
    for i, count in enumerate(form.blocks):
        width = STEM_WIDTH * 2**i
        width_out = 4 * width if form.bottleneck else width
        for j in range(count):
            block = f"layer{i + 1}.{j}"
            shapes |= _block_shapes(block, width_in, width, form.bottleneck)
            if width_in != width_out or (i and not j):
                shapes[f"{block}.downsample.0.weight"] = (width_out, width_in, 1, 1)
                shapes |= norm_shapes(f"{block}.downsample.1", width_out)
            width_in = width_out
    return shapes | {"fc.weight": (None, width_in), "fc.bias": (None,)}


def _block_shapes(block: str, width_in: int, width: int, bottleneck: bool) -> dict[str, Shape]:
    widths, kernels = ((width, width, 4 * width), (1, 3, 1)) if bottleneck else ((width, width), (3, 3))
    shapes: dict[str, Shape] = {}
    for k, (width_out, kernel) in enumerate(zip(widths, kernels, strict=True), 1):
        shapes[f"{block}.conv{k}.weight"] = (width_out, width_in, kernel, kernel)
        shapes |= norm_shapes(f"{block}.bn{k}", width_out)
        width_in = width_out
    return shapes


def our_key(key: str) -> str:
    """Translate torchvision's key; in our blocks a convolution, its norm and its ReLU take three places.

    Example:
        >>> our_key("layer2.0.bn2.running_mean")
        'stages.2.0.analog.body.4.running_mean'
    """
    stem = re.fullmatch(r"(conv|bn)1\.(\w+)", key)
    if stem:
        return f"stages.0.0.analog.{stem[1]}.{stem[2]}"
    block = re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)", key)
    if block is None:
        return f"head.{key}"
    stage, index, kind, number, name = block.groups()
    if kind == "downsample.":
        return f"stages.{stage}.{index}.analog.shortcut.{number}.{name}"
    place = 3 * (int(number) - 1) + (kind == "bn")
    return f"stages.{stage}.{index}.analog.body.{place}.{name}"


def of_channels(values: Sequence[float], count: int) -> tuple[float, ...]:
    """Return a number for each channel, or the mean for all, as a record states them."""
    return tuple(values) if len(values) == count else (sum(values) / len(values),)


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
        layouts = [Layout(name, residual_shapes(form)) for name, form in FORMS.items()]
        layout = choose_layout(state, layouts, self.publisher)
        ours = renamed(state, {key: our_key(key) for key in layout.shapes})
        classes, in_chans = len(state["fc.weight"]), state["conv1.weight"].shape[1]
        return Converted(FORMS[layout.name].spec_name, classes, in_chans, ours)

    @final
    def check_name(self, called: str) -> None:
        refuse_look_alike(called)

    def assumed(self, weights: str) -> str:
        """Return the note for a file whose weights were not named."""
        return (
            f"The file does not say how images were prepared: as {self.publisher}'s {weights} states it. "
            "Name other weights by --set weights=…"
        )


def published_name(converted: Converted) -> str:
    """Return the publisher's name of a converted network: `resnet50`."""
    return next(name for name, form in FORMS.items() if form.spec_name == converted.spec_name)
