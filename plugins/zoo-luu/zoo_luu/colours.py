"""Seven colour models as whole numbers, whose bit planes an encoder passes on (arXiv:2410.08229).

Formulas, ranges and the number of planes are those of github.com/luutn2002/bit-plane-snn at its `BitplaneColorEncoder`:
numbers are cut, not rounded, and what passes eight bits wraps, as the hue of HSV (to 359) and LAB's negative a and b.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from zoo.blocks import at_least_float32

_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)
"""X, Y and Z of the light D65."""


@final
@dataclass(frozen=True)
class ColourModel:
    """RGB in [0, 1], (N, 3, …), → numbers of the same shape, and how many planes are read of each."""

    convert: Callable[[Tensor], Tensor]
    planes: int


def _each_channel(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    red, green, blue = x.unbind(1)
    return red, green, blue


def _rgb(x: Tensor) -> Tensor:
    return x * 255 + 0.5  # cut, it is rounded


def _cmy(x: Tensor) -> Tensor:
    return (1 - x) * 100


def _ycbcr(x: Tensor) -> Tensor:
    red, green, blue = _each_channel(x)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack((luma * 235, ((blue - luma) * 0.564 + 0.5) * 240, ((red - luma) * 0.713 + 0.5) * 240), 1)


def _linear_xyz(x: Tensor) -> tuple[Tensor, ...]:
    red, green, blue = _each_channel(x)
    return tuple(of_red * red + of_green * green + of_blue * blue for of_red, of_green, of_blue in _TO_XYZ)


def _xyz(x: Tensor) -> Tensor:
    return torch.stack([value * 100 * white for value, white in zip(_linear_xyz(x), _WHITE, strict=True)], 1)


def _lab(x: Tensor) -> Tensor:
    linear = torch.where(x > 0.04045, ((x + 0.055) / 1.055) ** 2.4, x / 12.92)
    roots = []
    for value, white in zip(_linear_xyz(linear), _WHITE, strict=True):
        share = value / white
        roots.append(torch.where(share > 0.008856, share.clamp(min=0.008856) ** (1 / 3), 7.787 * share + 4 / 29))
    return torch.stack((116 * roots[1] - 16, 500 * (roots[0] - roots[1]), 200 * (roots[1] - roots[2])), 1)


def _hue(x: Tensor) -> Tensor:
    """The hue in [0, 1), (N, …); 0 of greys."""
    red, green, blue = _each_channel(x)
    most, spread = x.amax(1), x.amax(1) - x.amin(1)
    divisor = spread.where(spread > 0, 1)
    sixths = (red - green) / divisor + 4
    sixths = torch.where(green == most, (blue - red) / divisor + 2, sixths)
    sixths = torch.where(red == most, ((green - blue) / divisor) % 6, sixths)
    return torch.where(spread > 0, sixths, 0) / 6


def _hsv(x: Tensor) -> Tensor:
    most, spread = x.amax(1), x.amax(1) - x.amin(1)
    saturation = spread / most.where(most > 0, 1)
    return torch.stack((_hue(x) * 359, saturation * 100, most * 100), 1)


def _hsl(x: Tensor) -> Tensor:
    most, least = x.amax(1), x.amin(1)
    lightness = (most + least) / 2
    room = torch.where(lightness > 0.5, -lightness * 2 + 2, lightness * 2)
    saturation = (most - least) / room.where(room > 0, 1)
    return torch.stack((_hue(x) * 179, saturation * 255, lightness * 255), 1)


COLOUR_MODELS = {
    "rgb": ColourModel(_rgb, 8),
    "cmy": ColourModel(_cmy, 7),
    "ycbcr": ColourModel(_ycbcr, 8),
    "hsl": ColourModel(_hsl, 9),
    "hsv": ColourModel(_hsv, 8),
    "lab": ColourModel(_lab, 7),
    "xyz": ColourModel(_xyz, 7),
}
"""Name → model, by the names of the authors' code."""


def colour_planes(x: Tensor, model: ColourModel) -> Tensor:
    """Bit planes of an image in a colour model, the most significant first.

    Args:
        x: RGB, (N, 3, …) in [0, 1], or any channels for `rgb`; rounded to the 256 levels of an image file first.
        model: of `COLOUR_MODELS`.

    Returns:
        (planes, *x.shape) in {0, 1}, of x's type.
    """
    levels = torch.round(at_least_float32(x) * 255) / 255
    numbers = model.convert(levels).to(torch.int64) % 256
    places = torch.arange(model.planes - 1, -1, -1, device=x.device)
    return (numbers >> places.view(-1, *(1,) * x.dim()) & 1).to(x.dtype)
