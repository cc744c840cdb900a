"""Tell published networks by the keys and shapes of their checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, final

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
        problem = f"it is no checkpoint of {publisher} ({names}); it is nearest to {nearest.name}, but "
        raise WeightError(problem + "; ".join(problems))
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


RESNET_FORMS: Mapping[str, Form] = MappingProxyType({f"resnet{n}": Form(f"resnet{n}") for n in (18, 34, 50, 101, 152)})


def residual_shapes(form: Form) -> dict[str, Shape]:
    """Return key → shape in torchvision's order; image channels and classes are any."""
    import torch
    from torchvision.models import get_model

    with torch.device("meta"):
        shapes: dict[str, Shape] = {key: tuple(value.shape) for key, value in get_model(form.name).state_dict().items()}
    width = shapes["fc.weight"][1]
    return shapes | {"conv1.weight": (64, None, 7, 7), "fc.weight": (None, width), "fc.bias": (None,)}


def residual_key(key: str, stem: str, branch: str, first_stage: int, first_layer: int) -> str:
    """Translate torchvision's key of a ResNet into ours, whose blocks are sequences of layers.

    Example:
        >>> residual_key("layer2.0.bn2.running_mean", "stem.", "", first_stage=0, first_layer=1)
        'stages.1.0.body.5.running_mean'

    Args:
        key: torchvision's.
        stem: prefix of the first convolution and its norm.
        branch: behind the numbers of a stage and a block.
        first_stage, first_layer: numbers of torchvision's layer1, and of the first convolution in a block or shortcut.
    """
    first = re.fullmatch(r"(conv|bn)1\.(\w+)", key)
    if first:
        return f"{stem}{first[1]}.{first[2]}"
    layer = re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)", key)
    if layer is None:
        return f"head.{key}"
    stage, index, kind, number, name = layer.groups()
    block = f"stages.{int(stage) - 1 + first_stage}.{index}{branch}"
    if kind == "downsample.":
        return f"{block}.shortcut.{int(number) + first_layer}.{name}"
    return f"{block}.body.{3 * (int(number) - 1) + (kind == 'bn') + first_layer}.{name}"
