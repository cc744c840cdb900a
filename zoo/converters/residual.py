"""Compare a checkpoint with keys and shapes of published networks; convert the ResNets of timm and torchvision."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, final

from zoo.contracts.converter import Converted, Converter
from zoo.errors import WeightError, shorten

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int | None, ...]
"""The shape of a tensor; None for any size from 1 on."""

_COUNTER = ".num_batches_tracked"
"""Old checkpoints lack it; a network in eval mode does not read it."""


@final
@dataclass(frozen=True)
class Layout:
    """One published network: its publisher's name of it, and published key → shape."""

    name: str
    shapes: Mapping[str, Shape]

    def distance(self, state: Mapping[str, Tensor]) -> tuple[int, int]:
        """Count a checkpoint's tensors that do not fit, and the layout's own that are missing.

        The first counts for more, so that the beginning of a deep network is not taken for a shallow one.
        """
        alike = sum(key in state and fits(state[key], shape) for key, shape in self.shapes.items())
        return len(state) - alike, len(self.shapes) - alike


def norm_shapes(key: str, width: int) -> dict[str, Shape]:
    """Return the keys of a batch norm with their shapes."""
    shapes: dict[str, Shape] = {f"{key}.{name}": (width,) for name in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {key + _COUNTER: ()}


def fits(tensor: Tensor, shape: Shape) -> bool:
    """Compare a tensor with a shape."""
    sizes = zip(tensor.shape, shape, strict=False)
    return tensor.dim() == len(shape) and all(size > 0 if want is None else size == want for size, want in sizes)


def choose_layout(state: Mapping[str, Tensor], layouts: Sequence[Layout], publisher: str) -> Layout:
    """Find the layout of a checkpoint by its keys and shapes.

    Args:
        state: of the checkpoint.
        layouts: of the networks that it may be of.
        publisher: owner of these networks, for messages.

    Raises:
        WeightError: it has none of them; the message names the first wrong keys of the nearest one.
    """
    nearest = min(layouts, key=lambda layout: layout.distance(state))
    missing = [key for key in nearest.shapes if key not in state and not key.endswith(_COUNTER)]
    misshapen = [key for key, shape in nearest.shapes.items() if key in state and not fits(state[key], shape)]
    unknown = sorted(state.keys() - nearest.shapes.keys())
    problems = [f"{key} is missing" for key in missing[:1]]
    problems += [f"{key} has the shape {tuple(state[key].shape)}, not {nearest.shapes[key]}" for key in misshapen[:1]]
    problems += [f"it has {shorten(key, 120)}" for key in unknown[:1]]
    if problems:
        names = ", ".join(layout.name for layout in layouts)
        told = f"it is no checkpoint of {publisher} ({names}); it is nearest to {nearest.name}, but "
        raise WeightError(told + "; ".join(problems))
    return nearest


def renamed(state: Mapping[str, Tensor], keys: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the values under our keys (published key → ours), floats as float32; a counter that lacks starts at 0."""
    import torch

    ours = {}
    for key, own in keys.items():
        value = state[key] if key in state else torch.zeros((), dtype=torch.int64)
        ours[own] = value.float() if value.is_floating_point() else value
    return ours


# ResNets --------------------------------------------------------------------------------------------------------------


@final
@dataclass(frozen=True)
class Form:
    """A ResNet, by its name at timm and torchvision."""

    name: str

    @property
    def spec_name(self) -> str:
        """Name of the network in the zoo."""
        return f"ann_{'resnet' if self.name == 'resnet18' else self.name}_b64_m2_d4"


FORMS: Mapping[str, Form] = MappingProxyType({f"resnet{n}": Form(f"resnet{n}") for n in (18, 34, 50, 101, 152)})

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
                f"the zoo converts {', '.join(FORMS)}. If it is one of these, rename the file"
            )


def residual_shapes(form: Form) -> dict[str, Shape]:
    """Return key → shape in torchvision's order; image channels and classes are any."""
    import torch
    from torchvision.models import get_model

    with torch.device("meta"):
        shapes: dict[str, Shape] = {key: tuple(value.shape) for key, value in get_model(form.name).state_dict().items()}
    width = shapes["fc.weight"][1]
    return shapes | {"conv1.weight": (64, None, 7, 7), "fc.weight": (None, width), "fc.bias": (None,)}


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
