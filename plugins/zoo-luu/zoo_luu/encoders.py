"""A code over time, then the bit planes of the same image, the most significant first: T = steps + 8 for RGB.

Sources: arXiv:2410.08229 and github.com/luutn2002/bit-plane-snn (rate), arXiv:2512.03879 (time to first spike). Planes
are B_k(I) = ⌊I / 2^k⌋ mod 2 of I = round(255·x̂), or of the numbers of another colour model (zoo_luu/colours.py). The
authors divide integers of 0 to 255; here an activation is brought into [0, 1] first, as by every encoder of the zoo.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor

from zoo.blocks import unit_range
from zoo.contracts import Encoder
from zoo.errors import InputError, check_count
from zoo_luu.colours import COLOUR_MODELS, colour_planes

_GOLDEN = (math.sqrt(5) - 1) / 2
_STEPS = 10


class JoinedWithBits(Encoder):
    """Spikes of a code over time, then bit planes; without a gradient.

    Args:
        steps: timesteps of the code, before the planes.
        color_model: of the planes: rgb, cmy, ycbcr, hsl, hsv, lab or xyz. All but rgb take images of three channels,
            and have 7 to 9 planes.

    Raises:
        InputError: there is no such colour model.
    """

    api_version = 1
    differentiable = False
    options = frozenset({"steps", "color_model"})
    code: ClassVar[str]

    def __init__(self, steps: int = _STEPS, color_model: str = "rgb") -> None:
        super().__init__()
        if color_model not in COLOUR_MODELS:
            raise InputError(f"there is no color_model {color_model!r}; valid: {', '.join(COLOUR_MODELS)}")
        self.steps = check_count("steps", steps, 1, 1024)
        self.color_model = color_model

    @property
    @final
    def timesteps(self) -> int:
        return self.steps + COLOUR_MODELS[self.color_model].planes

    @abstractmethod
    def spikes(self, x: Tensor) -> Tensor:
        """(N, C, …) in [0, 1], float32 at least → (steps, N, C, …) in {0, 1}."""

    def forward(self, x: Tensor) -> Tensor:
        share = unit_range(x.detach())
        return torch.cat((self.spikes(share), self._planes(share))).to(x.dtype)

    def _planes(self, share: Tensor) -> Tensor:
        is_rgb = share.dim() > 1 and share.shape[1] == 3
        if self.color_model != "rgb" and not is_rgb:  # its planes are those of any number of channels
            raise InputError(f"color_model {self.color_model} takes RGB, (N, 3, …), not {tuple(share.shape)}")
        return colour_planes(share, COLOUR_MODELS[self.color_model])

    def extra_repr(self) -> str:
        return f"steps={self.steps}, color_model={self.color_model!r}"


@final
class RateBitsEncoder(JoinedWithBits):
    """Bernoulli spikes, s_t ~ Bernoulli(x̂), then planes: `MixedEncoder` of the authors' code, 10 steps by default.

    In eval mode the same image gives the same spikes: s_t = [x̂ > frac((t + ½)·φ)], thresholds that fill [0, 1] evenly.
    """

    code = "rate-and-bits"

    def spikes(self, x: Tensor) -> Tensor:
        if self.training:
            return (torch.rand((self.steps, *x.shape), dtype=x.dtype, device=x.device) < x).to(x.dtype)
        t = torch.arange(self.steps, dtype=torch.float64, device=x.device)
        thresholds = torch.frac((t + 0.5) * _GOLDEN).view(-1, *(1,) * x.dim())
        return (x > thresholds).to(x.dtype)


@final
class TtfsBitsEncoder(JoinedWithBits):
    """One spike a value, at t = round((steps − 1)·(1 − x̂)), bright is early; then planes.

    The paper's code is not public: that the planes come last is taken from the authors' code with rates.
    """

    code = "ttfs-and-bits"
    repeatable = True

    def spikes(self, x: Tensor) -> Tensor:
        when = torch.round((self.steps - 1) * (1 - x.double())).long()
        t = torch.arange(self.steps, device=x.device).view(-1, *(1,) * x.dim())
        return (t == when).to(x.dtype)
